"""Where predictions go beside the store. A sink takes a part once, whoever gives it again: `deliver(key, rows)`."""

KINDS = {
    "parquet": "parquet:ParquetSink",
    "sql": "sql:SqlSink",
    "delta": "delta:DeltaSink",
}

"""Where predictions go beside the store. A sink takes a part once, whoever gives it again: `deliver(key, rows)`.

One that takes Parquet files as they are offers `deliver_file(key, path)` too.
"""

KINDS = {
    "parquet": "parquet:ParquetSink",
    "sql": "sql:SqlSink",
    "delta": "delta:DeltaSink",
}

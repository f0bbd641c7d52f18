"""One run of ingest.py's comparisons, in a process of its own: `what path [check]`; one JSON line says how it went."""

import hashlib
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

NULLABLE = "i3", "f6"


def kind(name):
    return {"i": "int", "f": "float", "c": "text", "s": "text", "t": "time", "d": "date", "b": "bool"}[name[0]]


def make(path, megabytes):
    """Whole numbers small and large, floats, categories, an identifier, a time, a date, a truth; two with gaps."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    random, rows, row_bytes = np.random.default_rng(0), 250_000, 175
    with Path(path).open("wb") as file:
        for start in range(0, int(megabytes * 1e6 / row_bytes), rows):
            n = min(rows, int(megabytes * 1e6 / row_bytes) - start)
            moment = np.datetime64("2020-01-01", "us") + random.integers(0, 10**8, n).astype("timedelta64[s]")
            columns = {
                "i0": np.arange(start, start + n),
                "i1": random.integers(0, 100, n),
                "i2": random.integers(0, 2**60, n),
                "i3": pa.array(random.integers(0, 10**6, n), mask=random.random(n) < 0.03),
                "i4": random.integers(-(10**4), 10**4, n),
                **{f"f{one}": random.normal(size=n).round(4) for one in range(6)},
                "f6": pa.array(random.random(n), mask=random.random(n) < 0.05),
                **{
                    f"c{one}": np.char.add(f"cat_{one}_", random.integers(0, 5 * 4**one, n).astype("U4"))
                    for one in range(4)
                },
                "s0": np.char.add("u", np.char.zfill(random.integers(0, 10**12, n).astype("U12"), 12)),
                "t0": np.char.replace(np.datetime_as_string(moment, unit="s"), "T", " "),
                "d0": np.datetime_as_string(moment, unit="D"),
                "b0": np.where(random.random(n) < 0.5, "true", "false"),
            }
            options = csv.WriteOptions(include_header=start == 0, quoting_style="none", quoting_header="none")
            csv.write_csv(pa.table(columns), file, options)
    return {"bytes": Path(path).stat().st_size}


def names(path):
    with Path(path).open() as file:
        return file.readline().strip().split(",")


def polars(path, out):
    import polars as pl

    types = {
        "int": pl.Int64,
        "float": pl.Float64,
        "text": pl.String,
        "time": pl.Datetime("us"),
        "date": pl.Date,
        "bool": pl.Boolean,
    }
    schema = {name: types[kind(name)] for name in names(path)}
    began = time.perf_counter()
    pl.scan_csv(path, schema=schema).sink_parquet(out / "rows.parquet", compression="lz4")
    return began, "polars 2.1.0: scan_csv, sink_parquet, lz4"


def duckdb(path, out):
    import duckdb as duck

    types = {
        "int": "BIGINT",
        "float": "DOUBLE",
        "text": "VARCHAR",
        "time": "TIMESTAMP",
        "date": "DATE",
        "bool": "BOOLEAN",
    }
    columns = {name: types[kind(name)] for name in names(path)}
    connection = duck.connect()
    connection.execute(f"PRAGMA threads={os.cpu_count()}")
    began = time.perf_counter()
    connection.execute(
        f"COPY (SELECT * FROM read_csv('{path}', header=true, columns={columns})) TO '{out}/rows.parquet' "
        "(FORMAT parquet, COMPRESSION snappy)"
    )
    return began, "duckdb 2.0.0: COPY read_csv TO parquet, snappy"


def dask(path, out):
    import dask
    import dask.dataframe as dd

    dask.config.set(scheduler="threads")
    types = {"int": "int64", "float": "float64", "text": "string", "bool": "bool"}
    columns = names(path)
    dtype = {
        name: "Int64" if name in NULLABLE and kind(name) == "int" else types[kind(name)]
        for name in columns
        if kind(name) in types
    }
    began = time.perf_counter()
    frame = dd.read_csv(
        path, dtype=dtype, parse_dates=["t0", "d0"], date_format={"t0": "%Y-%m-%d %H:%M:%S", "d0": "%Y-%m-%d"}
    )
    frame.to_parquet(out, write_index=False, compression="snappy")
    return began, "dask.dataframe 2026.8.0: read_csv, to_parquet, threads, snappy"


def ours(path, out, workers=0):
    import components.ingest
    import components.validate
    from components.adapters.compute import Compute
    from components.context import open_context
    from components.contracts.placement import Placement
    from components.sources.files import FilesSource
    from components.validate.checks import ColumnCheck

    types = {"int": "int64", "float": "float64", "text": "string", "time": "timestamp", "date": "date", "bool": "bool"}
    more = {
        "i0": {"nullable": False}, "i1": {"minimum": 0, "maximum": 99}, "f0": {"minimum": -100, "maximum": 100},
        "f1": {"minimum": -100, "maximum": 100}, "c0": {"allowed": tuple(f"cat_0_{one}" for one in range(5))},
        "s0": {"nullable": False, "pattern": "u[0-9]{12}"}, "t0": {"timezone": "UTC"}, "d0": {"earliest": "2020-01-01"},
    }  # fmt: skip
    checks = components.validate.ValidateConfig(
        columns={name: ColumnCheck(type=types[kind(name)], **more.get(name, {})) for name in names(path)}
    )
    context = open_context(Placement(home=out / "home"), "bench")
    if workers:
        # Digests are taken on all cores otherwise.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        context.compute = Compute(workers=workers, synchronous=True)
    config = components.ingest.IngestConfig(source=FilesSource(uri=str(path)), columns=checks.declared())
    began = time.perf_counter()
    raw = components.ingest.run(config, ctx=context)
    valid = components.validate.run(checks, raw, ctx=context)
    return began, (context, valid)


def checked(what, out, result):
    """The rows and a digest of every cell in order, with dates and times as one type."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    if what == "ours":
        from components.adapters.snapshot_rows import read_rows

        context, valid = result
        wanted = [column.name for column in valid.columns]
        tables = (read_rows(context.store, "validate", part.key, wanted) for part in valid.parts)
    else:
        files = sorted(
            out.glob("*.parquet"), key=lambda path: [int(one) if one.isdigit() else one for one in path.name.split(".")]
        )
        tables = (ds.dataset(str(path)).to_table() for path in files)
    digests, rows = {}, 0
    for table in tables:
        rows += table.num_rows
        for name in table.column_names:
            cells = table[name]
            if kind(name) in {"time", "date"}:
                cells = cells.cast(
                    pa.timestamp("us", cells.type.tz) if pa.types.is_timestamp(cells.type) else pa.date32()
                )
                cells = pc.strftime(cells, format="%Y-%m-%d" if kind(name) == "date" else "%Y-%m-%d %H:%M:%S")
            plain = {"int": pa.int64(), "float": pa.float64(), "text": pa.string(), "bool": pa.bool_()}.get(
                kind(name), pa.string()
            )
            cells = cells.cast(plain)
            hashed = digests.setdefault(name, hashlib.blake2b(digest_size=8))
            text = pc.fill_null(pc.cast(cells, pa.string()), "")
            # Partitions end at other rows: what is hashed is the cells alone, one after another.
            for chunk in text.chunks:
                hashed.update(joined(chunk))
    return {
        "rows": rows,
        "checksum": hashlib.blake2b(
            "".join(digests[name].hexdigest() for name in sorted(digests)).encode(), digest_size=8
        ).hexdigest(),
    }


def joined(chunk):
    """The texts of a chunk, each with a line's end."""
    import pyarrow.compute as pc

    ended = pc.binary_join_element_wise(chunk, "", "\n")
    offsets = memoryview(ended.buffers()[1]).cast("i")
    first, last = offsets[ended.offset], offsets[ended.offset + len(ended)]
    return memoryview(ended.buffers()[2])[first:last]


class Watch(threading.Thread):
    """The peak of anonymous memory, in MiB, looked at every ten milliseconds."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.done = 0, False

    def run(self):
        while not self.done:
            with Path("/proc/self/status").open() as file:
                found = next(line for line in file if line.startswith("RssAnon"))
            self.peak = max(self.peak, int(found.split()[1]) / 1024)
            time.sleep(0.01)


def main(what, path, *more):
    if what == "make":
        return make(path, float(more[0]))
    out = Path(f"{what}-{os.getpid()}").absolute()
    out.mkdir()
    watch = Watch()
    watch.start()
    try:
        if what in {"ours", "alone"}:
            began, result = ours(Path(path), out, workers=what == "alone")
        else:
            began, result = {"polars": polars, "duckdb": duckdb, "dask": dask}[what](Path(path), out)
        said = {
            "seconds": time.perf_counter() - began,
            "memory": watch.peak,
            "setting": result if isinstance(result, str) else "",
        }
        watch.done = True
        return said | (checked(what, out, result) if "check" in more else {})
    finally:
        shutil.rmtree(out)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))

"""Polars' side of G26 in a process of its own: `parquet out numbers categories`, once for each line."""

import json
import sys
import time
from pathlib import Path

import polars as pl


def prepare(path, out, numbers, categories, compression):
    """Means and values of the training part, then every row standardised, filled and one-hot: seconds."""
    began = time.perf_counter()
    rows = pl.scan_parquet(path)
    training = rows.filter(pl.col("part") == "train")
    wanted = [
        *(pl.col(name).cast(pl.Float64).mean().alias(f"{name} mean") for name in numbers),
        *(pl.col(name).cast(pl.Float64).std(ddof=0).alias(f"{name} scale") for name in numbers),
        *(pl.col(name).unique().implode().alias(f"{name} values") for name in categories),
    ]
    found = training.select(wanted).collect(engine="streaming").row(0, named=True)
    columns = [
        ((pl.col(name).cast(pl.Float32) - found[f"{name} mean"]) / found[f"{name} scale"])
        .fill_null(0.0)
        .cast(pl.Float32)
        for name in numbers
    ]
    columns += [
        (pl.col(name) == value).cast(pl.Float32).alias(f"{name} {value}")
        for name in categories
        for value in sorted(found[f"{name} values"])
    ]
    rows.select([*columns, "b0", "part"]).sink_parquet(out, compression=compression)
    return time.perf_counter() - began


def sums(out):
    """Of the training part, per column the sum and the sum of squares."""
    training = pl.scan_parquet(out).filter(pl.col("part") == "train").drop("part", "b0")
    names = training.collect_schema().names()
    wide = [pl.col(name).cast(pl.Float64) for name in names]
    one = training.select(wide).sum().collect(engine="streaming").row(0)
    two = training.select([column**2 for column in wide]).sum().collect(engine="streaming").row(0)
    return dict(zip(names, zip(one, two, strict=True), strict=True))


def run():
    path, out, numbers, categories = sys.argv[1], Path(sys.argv[2]), *(one.split(",") for one in sys.argv[3:5])
    taken = {one: prepare(path, out, numbers, categories, one) for one in ("uncompressed", "lz4")}
    fastest = min(taken, key=taken.get)
    print(json.dumps({"sums": sums(out), "setting": f"polars {pl.__version__}, streaming, {fastest}"}), flush=True)
    for _ in sys.stdin:
        out.unlink()
        print(json.dumps({"seconds": prepare(path, out, numbers, categories, fastest)}), flush=True)


if __name__ == "__main__":
    run()

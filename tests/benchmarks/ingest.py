"""G8, G9 and G11: a large CSV to the typed, checked snapshot, beside Polars, DuckDB and dask.dataframe.

Each run is a process of its own that imports first and is timed after that (ingest_child.py); the results are compared
cell by cell before anything is timed. Peers live in an environment of their own.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.benchmarks.measure import compared
from tests.benchmarks.peers import environment
from tests.benchmarks.start_up import ROOT

MEGABYTES = 1000
PAIRS = 5


@cache
def folder():
    """Where data and results lie until the benchmark ends."""
    return tempfile.TemporaryDirectory(prefix="millrace-bench-")


@cache
def data(megabytes):
    """A CSV of about so many megabytes and 20 columns; 1 MB is 10⁶ bytes."""
    path = Path(folder().name, f"{megabytes}.csv")
    child("make", path, megabytes)
    return path


def child(what, path, *arguments):
    """What the child says of one run."""
    python = environment("tables") if what in {"polars", "duckdb"} else sys.executable
    cores = str(os.cpu_count())
    threads = {"POLARS_MAX_THREADS": cores, "OMP_NUM_THREADS": cores, "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT)}
    command = [python, str(Path(__file__).with_name("ingest_child.py")), what, str(path), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder().name, env={**os.environ, **threads}, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def seconds(what, path, rows=""):
    """How long one run took; its result is gone afterwards."""
    return child(what, path, rows)["seconds"]


def against(peer, goal, must, stretch):
    """The comparison with one peer."""
    path = data(MEGABYTES)
    ours, theirs = child("ours", path, "check"), child(peer, path, "check")
    assert ours["rows"] == theirs["rows"], (ours, theirs)
    assert ours["checksum"] == theirs["checksum"], "the peer's table holds other cells"
    pairs = []
    for number in range(PAIRS):
        order = ("ours", peer) if number % 2 else (peer, "ours")
        taken = {what: seconds(what, path) for what in order}
        pairs.append((taken["ours"], taken[peer]))
    names = {"goal": goal, "case": f"{path.stat().st_size / 1e9:.2f} GB CSV, 20 columns", "peer": theirs["setting"]}
    return compared(pairs, checksum=ours["checksum"], must=must, stretch=stretch, better="lower", **names)


def polars():
    return against("polars", "G8", 1.5, 1.1)


def duckdb():
    return against("duckdb", "G8", 1.5, 1.1)


def dask():
    return against("dask", "G9", 0.5, 0.3)


def growth():
    """Eight times the bytes: seconds over eight times the seconds."""
    small, large = data(MEGABYTES // 8), data(MEGABYTES)
    seconds("ours", small)
    share = large.stat().st_size / small.stat().st_size
    pairs = [(seconds("ours", large), share * seconds("ours", small)) for _ in range(PAIRS)]
    names = {"goal": "G11", "case": "8 times the bytes: seconds", "peer": "8 times the seconds of an eighth"}
    return compared(pairs, checksum="", must=1.10, stretch=1.03, better="lower", **names)


def memory():
    """Eight times the bytes: peak of anonymous memory over that of an eighth.

    Measured from one partition a core up: below that the peak is that of fewer partitions.
    """
    small, large = data(MEGABYTES // 4), data(MEGABYTES * 2)
    pairs = [(child("ours", large, "")["memory"], child("ours", small, "")["memory"]) for _ in range(3)]
    names = {"goal": "G11", "case": "8 times the bytes: peak RssAnon", "peer": "that of an eighth"}
    return compared(pairs, checksum="", must=1.15, stretch=1.05, better="lower", **names)


def workers():
    """One core over all: seconds."""
    path = data(MEGABYTES)
    pairs = [(child("alone", path, "")["seconds"], seconds("ours", path)) for _ in range(PAIRS)]
    names = {"goal": "G11", "case": "speed of 2 workers over 1", "peer": "one worker on one core"}
    return compared(pairs, checksum="", must=1.6, stretch=1.85, better="higher", **names)

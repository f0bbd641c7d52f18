"""G3 and G4: shuffled epochs of the same rows from the store, beside other stores and their loaders.

Each side is a process that has read an epoch before; its sums are compared first. Of each peer the fastest number of
workers is taken.
"""

import os
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from tests.benchmarks.images import decoded
from tests.benchmarks.measure import compared
from tests.benchmarks.peers import Child, environment

PAIRS = 5
PEERS = {
    "litdata": "loaders",
    "webdataset": "loaders",
    "huggingface": "loaders",
    "arrow": "loaders",
    "mosaic": "mosaic",
}


@cache
def folder():
    return tempfile.TemporaryDirectory(prefix="millrace-bench-", ignore_cleanup_errors=True)


@cache
def pixels():
    """CIFAR-10 as decoded JPEG, where the data are there; else as many drawn ones: uint8[rows, 32, 32, 3]."""
    place = Path(folder().name, "pixels")
    place.mkdir()
    rows, labels, name = decoded(os.environ.get("MILLRACE_DATA", ""))
    np.save(place / "rows.npy", rows)
    np.save(place / "labels.npy", labels)
    return place, name


@cache
def wide():
    """100 columns of float32 in a million rows."""
    place = Path(folder().name, "wide")
    place.mkdir()
    drawn = np.random.default_rng(0)
    np.save(place / "rows.npy", drawn.integers(-100, 100, (1_000_000, 100)).astype(np.float32))
    np.save(place / "labels.npy", drawn.integers(0, 10, 1_000_000))
    return place, "100 float32 columns, 1M rows"


def child(what, place, size, workers):
    python = environment(PEERS[what]) if what in PEERS else sys.executable
    return Child(python, "loaders_child.py", what, place, Path(folder().name, f"{place.name}-stores"), size, workers)


def fastest(peer, place, size):
    """The peer's child with the number of workers with which it was fastest, and that number."""
    found = []
    for workers in (0, 1) if peer == "huggingface" else (0, 2):
        if peer == "arrow" and workers:
            continue
        one = child(peer, place, size, workers)
        found.append((one.go()["seconds"], workers, one))
    found.sort(key=lambda one: one[0])
    for _, _, slower in found[1:]:
        slower.end()
    return found[0][2], found[0][1]


def against(peer, data, size, *, goal, must, stretch):
    """The comparison with one peer."""
    place, name = data()
    theirs, workers = fastest(peer, place, size)
    ours = child("ours", place, size, 0)
    assert ours.ready == theirs.ready, "both have every row once"
    pairs = []
    for number in range(PAIRS):
        taken = {}
        for side in (ours, theirs) if number % 2 else (theirs, ours):
            said = side.go()
            taken[side] = said["seconds"]
        pairs.append((taken[theirs], taken[ours]))
    for side in (ours, theirs):
        side.end()
    names = {"goal": goal, "case": f"{name}, bs {size}", "peer": f"{peer}, {workers} workers"}
    checksum = str(ours.ready["checksum"])
    return compared(pairs, checksum=checksum, must=must, stretch=stretch, better="higher", **names)


def images(peer):
    """G3 against one peer."""

    def measure():
        return against(peer, pixels, 128, goal="G3", must=8, stretch=20)

    return measure


def columns(peer, must, stretch):
    """G4 against one peer."""

    def measure():
        return against(peer, wide, 1024, goal="G4", must=must, stretch=stretch)

    return measure

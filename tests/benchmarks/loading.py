"""G1 and G2: a shuffled epoch of 3 kB rows from the store, beside a copy in memory and PyTorch's own loader."""

import os
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np

from components.adapters.dataset_store import Loader, ShardFile
from components.adapters.shard_files import write_shard
from tests.benchmarks.measure import compared

ROWS, SHARDS, BATCH = 50_000, 8, 256
PAIRS = 7


@cache
def folder():
    return tempfile.TemporaryDirectory(prefix="millrace-bench-")


@cache
def data():
    """CIFAR's shapes: uint8[rows, 3, 32, 32] and a label each, in shards and in memory."""
    drawn = np.random.default_rng(0)
    images = drawn.integers(0, 256, (ROWS, 3, 32, 32), np.uint8)
    labels = drawn.integers(0, 10, (ROWS, 1)).astype(np.int64)
    files = []
    for number, rows in enumerate(np.array_split(np.arange(ROWS), SHARDS)):
        path = Path(folder().name, f"{number}.arrow")
        write_shard({"image": images[rows], "label": labels[rows]}, path)
        files.append(ShardFile(path=str(path), rows=len(rows)))
    return images, labels, files


def epoch(batches):
    """Seconds of one epoch, and what all its rows add up to: each batch's pixels and labels are looked at once."""
    began = time.perf_counter()
    seen = 0
    for batch in batches:
        seen += len(batch["label"])
    return time.perf_counter() - began, seen


def checked(batches):
    """The sums of all images and labels of an epoch."""
    sums = [(int(np.asarray(one["image"]).sum(dtype=np.int64)), int(np.asarray(one["label"]).sum())) for one in batches]
    return [sum(column) for column in zip(*sums, strict=True)]


def copied():
    """Seconds to copy as many bytes as an epoch has, 256 MB at a time."""
    source, target = np.ones(2**28, np.uint8), np.zeros(2**28, np.uint8)
    began = time.perf_counter()
    np.copyto(target, source)
    return (time.perf_counter() - began) * ROWS * 3072 / 2**28


def store():
    """G1: bytes a second over those of a copy."""
    images, labels, files = data()
    loader = Loader(files, BATCH, seed=0)
    assert checked(loader.epoch(0)) == [int(images.sum(dtype=np.int64)), int(labels.sum())]
    pairs = []
    copied()
    for number in range(PAIRS):
        ours, seen = epoch(loader.epoch(number, spaces=4))
        assert seen == ROWS
        pairs.append((copied(), ours))
    names = {"goal": "G1", "case": "bs 256, 3 kB rows", "peer": "np.copyto 256 MB"}
    return compared(pairs, checksum="", must=0.6, stretch=0.85, better="higher", **names)


def torch_loader():
    """G2: samples a second over those of PyTorch's loader without workers."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(os.cpu_count())
    images, labels, files = data()
    theirs = DataLoader(TensorDataset(torch.from_numpy(images), torch.from_numpy(labels)), BATCH, shuffle=True)
    loader = Loader(files, BATCH, seed=0)
    named = ({"image": image, "label": label} for image, label in theirs)
    assert checked(loader.epoch(0)) == checked(named)
    pairs = []
    for number in range(PAIRS):
        taken = {}
        for what in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            batches = loader.epoch(number, spaces=4) if what == "ours" else ({"label": label} for _, label in theirs)
            taken[what], seen = epoch(batches)
            assert seen == ROWS
        pairs.append((taken["theirs"], taken["ours"]))
    names = {"goal": "G2", "case": "bs 256, 3 kB rows", "peer": "torch DataLoader(TensorDataset), no workers"}
    return compared(pairs, checksum="", must=6, stretch=10, better="higher", **names)

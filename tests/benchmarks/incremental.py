"""What a change of one in a hundred costs: ingest after it over ingest of everything, the results compared first."""

import os
import random
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np

from components import ingest
from components.context import open_context
from components.contracts.placement import Placement
from components.sources.files import FilesSource
from components.sources.image_folder import ImageFolderSource
from tests.benchmarks.measure import compared

PAIRS = 5
SETTLED_SECONDS = 2.1
"""A file that changed later than this ago is not remembered."""


@cache
def folder():
    return tempfile.TemporaryDirectory(prefix="millrace-bench-")


def tree(files, size):
    """Files of so many bytes in ten classes; what they hold is not looked at here."""
    root = Path(folder().name, f"tree-{files}-{size}")
    drawn = np.random.default_rng(0)
    for number in range(files):
        path = root / f"class-{number % 10}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn.bytes(size))
    return root


def table(files, rows):
    root = Path(folder().name, "table")
    root.mkdir()
    drawn = np.random.default_rng(0)
    for number in range(files):
        values = drawn.normal(size=(rows, 10))
        np.savetxt(root / f"{number:03}.csv", values, "%.6f", ",", header=",".join("abcdefghij"), comments="")
    return root


def seconds(source, home):
    ctx = open_context(Placement(home=home), "bench")
    began = time.perf_counter()
    raw = ingest.run(ingest.IngestConfig(source=source), ctx=ctx)
    return time.perf_counter() - began, raw


def changed(root, number):
    """One file in a hundred, drawn at random, gets another last byte."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for path in random.Random(number).sample(files, max(1, len(files) // 100)):
        body = bytearray(path.read_bytes())
        at = -2 if path.suffix == ".csv" else -1
        body[at] = ord(str((body[at] + 1) % 10))
        path.write_bytes(body)


def measured(source, root, case, must):
    pairs = []
    for number in range(PAIRS):
        home = Path(folder().name, "home")
        time.sleep(SETTLED_SECONDS)
        whole, _ = seconds(source, home)
        changed(root, number)
        time.sleep(SETTLED_SECONDS)
        again, raw = seconds(source, home)
        if not number:
            _, alone = seconds(source, Path(folder().name, "other"))
            assert raw.content == alone.content, "reading what changed gives what reading all gives"
            shutil.rmtree(Path(folder().name, "other"))
        shutil.rmtree(home)
        os.sync()
        pairs.append((again, whole))
    return compared(
        pairs, goal="incremental", case=case, peer="all of it", checksum="", must=must, stretch=0.03, better="lower"
    )


def media():
    """A tree of photographs' size."""
    root = tree(6000, 300_000)
    return measured(ImageFolderSource(uri=str(root)), root, "1 % of 6,000 files of 300 kB", 0.06)


def middling_media():
    """A tree of pictures for the web."""
    root = tree(6000, 100_000)
    return measured(ImageFolderSource(uri=str(root)), root, "1 % of 6,000 files of 100 kB", 0.06)


def small_media():
    """A tree of small pictures: half of the time goes into looking whether files changed."""
    root = tree(50_000, 1500)
    return measured(ImageFolderSource(uri=str(root)), root, "1 % of 50,000 files of 1.5 kB", 0.06)


def partitions():
    """A table in files."""
    root = table(200, 40_000)
    return measured(FilesSource(uri=str(root)), root, "1 % of 200 CSV files of 3.6 MB", 0.06)

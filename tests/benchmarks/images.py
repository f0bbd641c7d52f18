"""G5, G6 and G7: JPEG files to arrays in the store, beside PyTorch's loader over files and LitData's optimize."""

import io
import os
import shutil
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image as Pillow

from components import clean, ingest, preprocess, validate
from components.adapters.dataset_store import Loader
from components.context import open_context
from components.contracts.placement import Placement
from components.features.image import Image
from components.features.label import Label
from components.features.shards import shard_files
from components.sources.image_folder import ImageFolderSource
from components.statistics.keys import TRAIN
from tests.benchmarks import pictures
from tests.benchmarks.measure import compared
from tests.benchmarks.peers import Child, environment

PAIRS = 5
ROWS, PHOTOGRAPHS = 50_000, 1200
CIFAR, CELLS = "cifar10-images.tar.gz", "bccd.tar.gz"


@cache
def folder():
    return tempfile.TemporaryDirectory(prefix="millrace-bench-", ignore_cleanup_errors=True)


def jpeg(pixels):
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def decoded(data):
    """uint8[rows, 32, 32, 3], their labels, and what they are: of the JPEG CIFAR-10 in `data`, else drawn."""
    if not data or not Path(data, CIFAR).is_file():
        drawn = np.random.default_rng(0)
        return drawn.integers(0, 256, (ROWS, 32, 32, 3), np.uint8), drawn.integers(0, 10, ROWS), "drawn 3 kB rows"
    return *pictures.decoded(Path(data, CIFAR))["train"], "JPEG CIFAR-10"


@cache
def small():
    """A class tree of 50,000 JPEG files of 32 × 32."""
    data, place = os.environ.get("MILLRACE_DATA", ""), Path(folder().name, "small")
    if data and Path(data, CIFAR).is_file():
        with tarfile.open(Path(data, CIFAR)) as archive:
            members = [one for one in archive if one.name.removeprefix("./").startswith("train/")]
            archive.extractall(place, members, filter="data")
        return next(place.rglob("train")), "50,000 files of JPEG CIFAR-10"
    rows, labels, name = decoded("")
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        path = place / f"class-{label}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(row))
    return place, f"50,000 files, {name}"


@cache
def photographs():
    """Files of 500 × 400: photographs of blood cells, where the data are there; else smooth noise."""
    data, place = os.environ.get("MILLRACE_DATA", ""), Path(folder().name, "photographs")
    name = "smooth noise"
    if data and Path(data, CELLS).is_file():
        name = "blood cells"
        with tarfile.open(Path(data, CELLS)) as archive:
            found = [one for one in archive if one.name.endswith(".jpg")]
            opened = (Pillow.open(archive.extractfile(member)) for member in found[:200])
            shots = [one.convert("RGB").resize((500, 400)) for one in opened]
    else:
        drawn = np.random.default_rng(0)
        small = drawn.integers(0, 256, (100, 40, 50, 3), np.uint8)
        shots = [Pillow.fromarray(one).resize((500, 400), Pillow.Resampling.BICUBIC) for one in small]
    for number in range(PHOTOGRAPHS):
        path = place / f"class-{number % 4}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Each a little different, so that none is a copy.
        pixels = np.roll(np.asarray(shots[number % len(shots)]), number // len(shots), axis=1)
        path.write_bytes(jpeg(pixels))
    return place, f"{PHOTOGRAPHS} of 500 × 400 to 224 ({name})"


def snapshot(root, home):
    """The files, ingested, validated and cleaned; and their context."""
    ctx = open_context(Placement(home=home), "bench")
    raw = ingest.run(ingest.IngestConfig(source=ImageFolderSource(uri=str(root))), ctx=ctx)
    valid = validate.run(validate.ValidateConfig(), raw, ctx=ctx)
    return clean.run(clean.CleanConfig(), valid, ctx=ctx), ctx


def feature(side):
    return Image(height=side, width=side, decoder="simplejpeg")


def prepared(side, cleaned, ctx):
    config = preprocess.PreprocessConfig(features=(feature(side),), target=Label(column="label"))
    return preprocess.run(config, cleaned, ctx=ctx)


def first_pass():
    """G5: decoding and resizing in as many threads as PyTorch's loader has processes."""
    root, name = photographs()
    files = sorted(root.rglob("*.jpg"))
    theirs = Child(environment("loaders"), "images_child.py", "files", root, 224)
    pairs = []

    def decode(part):
        cells = pa.chunked_array([pa.array([path.read_bytes() for path in part], pa.binary())])
        return feature(224).prepare(pa.table({"image": cells})).values

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        batches = [files[start : start + 64] for start in range(0, len(files), 64)]
        for number in range(PAIRS + 1):
            taken = {}
            for what in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
                if what == "ours":
                    began, seen = time.perf_counter(), sum(float(one.mean()) for one in threads.map(decode, batches))
                    taken[what], mean = time.perf_counter() - began, seen / len(batches)
                else:
                    said = theirs.go()
                    taken[what] = said["seconds"]
            assert abs(mean - said["mean"]) < 1, "the same pixels, but for how they are resampled"
            pairs.append((taken["theirs"], taken["ours"]))
    theirs.end()
    names = {"goal": "G5", "case": name, "peer": "torch DataLoader, 2 workers, Pillow"}
    return compared(pairs[1:], checksum=f"{mean:.2f}", must=1.2, stretch=1.8, better="higher", **names)


def second_epoch():
    """G6: an epoch from the store beside one over the files."""
    root, name = photographs()
    home = Path(folder().name, "home-g6")
    cleaned, ctx = snapshot(root, home)
    dataset = prepared(224, cleaned, ctx)
    loader = Loader(shard_files(dataset, ctx.store, TRAIN), 64, seed=0)
    theirs = Child(environment("loaders"), "images_child.py", "files", root, 224)
    pairs = []
    for number in range(PAIRS):
        files = theirs.go()["seconds"]
        began, seen = time.perf_counter(), 0
        for batch in loader.ahead(number):
            seen += len(batch["image"])
        # The training part only is read: as many as all files.
        ours = (time.perf_counter() - began) * PHOTOGRAPHS / seen
        assert seen == dataset.rows[TRAIN]
        pairs.append((files, ours))
    theirs.end()
    names = {"goal": "G6", "case": name, "peer": "torch DataLoader, 2 workers, Pillow"}
    return compared(pairs, checksum="", must=20, stretch=50, better="higher", **names)


def optimize(whole):
    """G7: the committed store of decoded arrays, from the snapshot or from the files on."""

    def measure():
        root, name = small()
        taken = {}
        for workers in (0, 1, 2):
            peer = Child(environment("loaders"), "images_child.py", "optimize", root, folder().name, workers)
            taken[workers] = peer.go()["seconds"]
            peer.end()
        workers = min(taken, key=taken.get)
        pairs = []
        for _ in range(PAIRS):
            peer = Child(environment("loaders"), "images_child.py", "optimize", root, folder().name, workers)
            said = peer.go()
            peer.end()
            home = Path(folder().name, "home-g7")
            began = time.perf_counter()
            cleaned, ctx = snapshot(root, home)
            began = began if whole else time.perf_counter()
            dataset = prepared(32, cleaned, ctx)
            ours = time.perf_counter() - began
            assert sum(dataset.rows.values()) == said["rows"]
            pixels = sum(dataset.features[0].state["mean"]) / 3
            assert abs(pixels - said["mean"]) < 0.5, "the same arrays (ours of the training part)"
            shutil.rmtree(home)
            os.sync()
            pairs.append((ours, said["seconds"]))
        case = f"{name}, {'files' if whole else 'snapshot'} to store"
        names = {"goal": "G7", "case": case, "peer": f"litdata.optimize, {workers} workers"}
        return compared(pairs, checksum=f"{pixels:.2f}", must=0.7, stretch=0.4, better="lower", **names)

    return measure


if __name__ == "__main__":
    sys.exit("run `make bench`")

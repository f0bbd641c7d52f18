"""G10 and G26: preparing again after nothing or little changed, and preparing beside Polars' arithmetic."""

import contextlib
import os
import random
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components import clean, ingest, preprocess, validate
from components.adapters.dataset_store import Loader
from components.adapters.snapshot_rows import read_rows
from components.context import open_context
from components.contracts.placement import Placement
from components.features.category import Category
from components.features.feature import tensor_of
from components.features.fitted import load_feature
from components.features.label import Label
from components.features.number import Number
from components.features.shards import lookups_of, shard_files
from components.features.text import Text
from components.sources.files import FilesSource
from components.statistics.keys import TRAIN
from components.statistics.splits import Split
from components.validate import ColumnCheck
from tests.benchmarks.incremental import SETTLED_SECONDS, table
from tests.benchmarks.ingest import MEGABYTES, data
from tests.benchmarks.measure import compared
from tests.benchmarks.peers import Child, environment

PAIRS = 5
NUMBERS = tuple("abcdefghi")


@cache
def folder():
    return tempfile.TemporaryDirectory(prefix="millrace-bench-")


def cleaned(source, ctx, columns):
    checks = validate.ValidateConfig(columns={name: ColumnCheck(type=kind) for name, kind in columns.items()})
    raw = ingest.run(ingest.IngestConfig(source=source, columns=checks.declared()), ctx=ctx)
    return clean.run(clean.CleanConfig(), validate.run(checks, raw, ctx=ctx), ctx=ctx)


def prepared(config, rows, ctx):
    began = time.perf_counter()
    dataset = preprocess.run(config, rows, ctx=ctx)
    return time.perf_counter() - began, dataset


def labelled(root):
    """The last column of every file becomes a sign."""
    for path in sorted(root.glob("*.csv")):
        lines = path.read_text().splitlines()
        signs = (
            f"{line.rpartition(',')[0]},{'no' if line.rpartition(',')[2][0] == '-' else 'yes'}" for line in lines[1:]
        )
        path.write_text("\n".join([lines[0], *signs]) + "\n")
    return root


def changed(root, number):
    """One file in a hundred gets another first cell."""
    files = sorted(root.glob("*.csv"))
    for path in random.Random(number).sample(files, len(files) // 100):
        head, _, rest = path.read_text().partition("\n")
        path.write_text(f"{head}\n{rest.replace('0.', '1.', 1)}")


@cache
def again():
    """Seconds of a whole prepare, of one after nothing changed, and of one after 1 % of the partitions did."""
    root = labelled(table(200, 40_000))
    source = FilesSource(uri=str(root))
    columns = dict.fromkeys(NUMBERS, "float64")
    features = (
        Number(columns=NUMBERS[:5], missing="median", outliers="clip"),
        Number(name="more", columns=NUMBERS[5:], scale="quantile"),
    )
    config = preprocess.PreprocessConfig(features=features, target=Label(column="j"))
    times = []
    for number in range(PAIRS):
        home = Path(folder().name, f"home-{number}")
        time.sleep(SETTLED_SECONDS)
        ctx = open_context(Placement(home=home), "bench")
        rows = cleaned(source, ctx, columns)
        whole, dataset = prepared(config, rows, ctx)
        same, _ = prepared(config, rows, open_context(Placement(home=home), "bench"))
        changed(root, number)
        time.sleep(SETTLED_SECONDS)
        ctx = open_context(Placement(home=home), "bench")
        rows = cleaned(source, ctx, columns)
        little, after = prepared(config, rows, ctx)
        assert after.content != dataset.content
        kept = {part.key for part in dataset.parts} & {part.key for part in after.parts}
        assert len(kept) == 198, "only what changed is prepared anew"
        shutil.rmtree(home)
        times.append((whole, same, little))
    return times


def nothing():
    """G10, nothing changed."""
    names = {"goal": "G10", "case": "nothing changed, 8M rows in 200 parts", "peer": "all of it"}
    pairs = [(same, whole) for whole, same, _ in again()]
    return compared(pairs, checksum="", must=0.03, stretch=0.01, better="lower", **names)


def little():
    """G10, 1 % of the partitions changed."""
    names = {"goal": "G10", "case": "1 % of 200 parts changed, 8M rows", "peer": "all of it"}
    pairs = [(part, whole) for whole, _, part in again()]
    return compared(pairs, checksum="", must=0.06, stretch=0.03, better="lower", **names)


def texts(root):
    """200 files of 2,000 texts of 30 words, from as many different words as a language has."""
    root.mkdir()
    drawn = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlu"))
    words = np.array(["".join(drawn.choice(letters, drawn.integers(2, 10))) for _ in range(50_000)])
    weights = 1 / np.arange(1, len(words) + 1)
    for number in range(200):
        rows = drawn.choice(words, (2000, 30), p=weights / weights.sum())
        lines = [f"{' '.join(row)} {number / 1000:.3f},{'yes' if drawn.random() < 0.5 else 'no'}" for row in rows]
        (root / f"{number:03}.csv").write_text("\n".join(["t,j", *lines]) + "\n")
    return root


def little_text():
    """G10 where the state is dear: byte pairs of 12 million words stay as they were found."""
    root = texts(Path(folder().name, "texts"))
    config = preprocess.PreprocessConfig(
        features=(Text(column="t", tokens="byte-pair", length=32),), target=Label(column="j")
    )
    times = []
    for number in range(PAIRS):
        home = Path(folder().name, f"home-{number}")
        time.sleep(SETTLED_SECONDS)
        ctx = open_context(Placement(home=home), "bench")
        whole, dataset = prepared(config, cleaned(FilesSource(uri=str(root)), ctx, {"t": "string"}), ctx)
        changed(root, number)
        time.sleep(SETTLED_SECONDS)
        ctx = open_context(Placement(home=home), "bench")
        part, after = prepared(config, cleaned(FilesSource(uri=str(root)), ctx, {"t": "string"}), ctx)
        assert after.content != dataset.content
        assert after.features[0].state == dataset.features[0].state
        shutil.rmtree(home)
        times.append((part, whole))
    names = {"goal": "G10", "case": "1 % of 200 parts of texts changed, byte pairs", "peer": "all of it"}
    return compared(times, checksum="", must=0.06, stretch=0.03, better="lower", **names)


WIDE = (*(f"f{one}" for one in range(7)), "i1", "i3", "i4")
NAMES = ("c0", "c1")


def polars():
    """G26: from the cleaned snapshot to the committed store, beside the same arithmetic to Parquet."""
    path = data(MEGABYTES)
    columns = {
        **{name: "float64" for name in WIDE if name[0] == "f"},
        **{name: "int64" for name in WIDE if name[0] == "i"},
        **dict.fromkeys(NAMES, "string"),
        "b0": "bool",
    }
    home = Path(folder().name, "home-g26")
    ctx = open_context(Placement(home=home), "bench")
    rows = cleaned(FilesSource(uri=str(path)), ctx, columns)
    features = (Number(columns=WIDE), Category(columns=NAMES, encoding="one-hot"))
    config = preprocess.PreprocessConfig(features=features, target=Label(column="b0"))
    typed = Path(folder().name, "typed.parquet")
    split = Split()
    with contextlib.ExitStack() as stack:
        writer = None
        for part in rows.parts:
            table = read_rows(ctx.store, "clean", part.key)
            told = table.select([*WIDE, *NAMES, "b0"]).append_column("part", pa.array(split.parts(table)))
            writer = writer or stack.enter_context(pq.ParquetWriter(typed, told.schema, compression="lz4"))
            writer.write_table(told)
    theirs = Child(
        environment("tables"),
        "prepare_child.py",
        typed,
        Path(folder().name, "out.parquet"),
        ",".join(WIDE),
        ",".join(NAMES),
    )
    _, dataset = prepared(config, rows, ctx)
    ours = _sums(dataset, ctx)
    assert ours.keys() == theirs.ready["sums"].keys()
    for name, (one, two) in theirs.ready["sums"].items():
        assert abs(ours[name][1] - two) <= 1e-4 * two, name
        assert abs(ours[name][0] - one) <= 1e-4 * two + 1, name
    pairs = []
    for number in range(PAIRS):
        taken = {}
        for side in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            shutil.rmtree(home / "store" / "preprocess", ignore_errors=True)
            os.sync()
            fresh = open_context(Placement(home=home), "bench")
            taken[side] = prepared(config, rows, fresh)[0] if side == "ours" else theirs.go()["seconds"]
        pairs.append((taken["ours"], taken["theirs"]))
    theirs.end()
    names = {"goal": "G26", "case": "1 GB of CSV ingested, 12 columns to 36 numbers", "peer": theirs.ready["setting"]}
    return compared(pairs, checksum=str(dataset.rows[TRAIN]), must=1.5, stretch=1.1, better="lower", **names)


def _sums(dataset, ctx):
    """What batches of the training part are, as the model sees them: per number the sum and the sum of squares."""
    fitted = {one.config["name"]: one for one in dataset.features}
    files = shard_files(dataset, ctx.store, TRAIN)
    total = dict.fromkeys(fitted, 0)
    for batch in Loader(files, 65_536, lookups=lookups_of(files, (*dataset.features, dataset.target))).epoch(0):
        for name, one in fitted.items():
            tensor = load_feature(one).apply(tensor_of(batch[name]), one.state).double()
            total[name] = total[name] + torch.stack([tensor.sum(0), (tensor**2).sum(0)])
    found = dict(zip(WIDE, total["numbers"].T.tolist(), strict=True))
    at = 0
    for column, known in zip(NAMES, fitted["categories"].state["vocabularies"], strict=True):
        assert total["categories"][0, at] == 0, "nothing is unknown"
        found |= {f"{column} {value}": total["categories"].T[at + 1 + n].tolist() for n, value in enumerate(known)}
        at += 1 + len(known)
    return found

"""G10 and G26: preparing again after nothing or little changed, and preparing beside Polars' arithmetic."""

import random
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

from components import clean, ingest, preprocess, validate
from components.context import open_context
from components.contracts.placement import Placement
from components.features.label import Label
from components.features.number import Number
from components.sources.files import FilesSource
from components.validate import ColumnCheck
from tests.benchmarks.incremental import SETTLED_SECONDS, table
from tests.benchmarks.measure import compared

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

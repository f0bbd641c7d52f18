"""G21: answers to every row of Parquet files, beside a bare script over the same files, and beside MLflow's command."""

import json
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.adapters.compute import Compute
from components.packages import open_package
from components.raw_rows import folder_of
from flows.scored import Order, scored
from tests.benchmarks.measure import compared
from tests.benchmarks.serving import CLASSES, COLUMNS, layers, sequential, wide, wide_recipe
from tests.line import registered
from tests.serve.conftest import Line

FILES, ROWS, PAIRS = 8, 50_000, 7
FEW = 20_000
"""Rows for MLflow's command, which takes long for each."""
NAMES = [f"x{at}" for at in range(COLUMNS)]


def written(folder, files, rows):
    """Files of numbers as a data lake has them."""
    folder.mkdir()
    draw = np.random.default_rng(1)
    for number in range(files):
        cells = draw.normal(3, 2, (rows, COLUMNS))
        pq.write_table(pa.table({name: cells[:, at] for at, name in enumerate(NAMES)}), folder / f"{number}.parquet")
    return folder


@cache
def line():
    """A registered model, its network as bare layers, and the folder of both."""
    folder = Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    wide(folder / "rows")
    made = Line.__new__(Line)
    made.home = folder
    ctx = made.context("bench")
    package, _, _ = registered(wide_recipe(folder / "rows"), ctx, "wide")
    place = folder_of(package, ctx.store)
    return made, sequential(layers(open_package(place))), place, folder


def bare(source, target, net):
    """What a person writes: a file at a time, in two threads of torch's, the same columns out."""
    target.mkdir()
    names = np.array([str(one) for one in range(CLASSES)], object)
    for path in sorted(source.glob("*.parquet")):
        table = pq.read_table(path)
        cells = np.stack([table[name].to_numpy() for name in NAMES], axis=1).astype(np.float32)
        with torch.inference_mode():
            shares = torch.cat([net(one).softmax(1) for one in torch.from_numpy(cells).split(8192)]).numpy()
        chosen = shares.argmax(1)
        answers = pa.table({
            "prediction": pa.array(names[chosen], pa.string()),
            "confidence": shares.max(1).astype(np.float64),
            "probabilities": pa.array(list(shares.astype(np.float64))),
        })
        pq.write_table(answers, target / path.name)


def seconds(work):
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


def script():
    """Rows a second over the bare script's."""
    made, net, _, folder = line()
    pairs, checked = [], 0
    for number in range(PAIRS + 1):
        # New files each time: what was scored is not scored again.
        source = written(folder / f"lake {number}", FILES, ROWS)
        _touched(source, number)
        ctx = made.context("bench")
        ctx.compute = Compute(workers=2)
        order = Order(model="wide", source=str(source), to=str(folder / f"ours {number}"))
        ours, _ = seconds(lambda order=order, ctx=ctx: scored(order, ctx))
        theirs, _ = seconds(lambda source=source, number=number: bare(source, folder / f"theirs {number}", net))
        told = [
            pq.read_table(folder / f"{name} {number}").column("confidence").to_numpy() for name in ("ours", "theirs")
        ]
        np.testing.assert_allclose(np.sort(told[0]), np.sort(told[1]), atol=1e-4)
        checked += len(told[0])
        pairs += [(theirs, ours)] if number else []
    return compared(
        pairs, goal="G21", case=f"{FILES} files of {ROWS:,} rows of {COLUMNS} numbers, rows a second", peer="bare script",
        must=0.8, stretch=0.95, better="higher", checksum=f"{checked:,} answers alike",
    )  # fmt: skip


def _touched(source, number):
    """One cell of each file is another each time."""
    for path in source.glob("*.parquet"):
        table = pq.read_table(path)
        first = table["x0"].to_numpy().copy()
        first[0] = number
        pq.write_table(table.set_column(0, "x0", pa.array(first)), path)


def command():
    """Rows a second over those of `mlflow models predict`, each command with its start."""
    made, _, place, folder = line()
    rows = written(folder / "few", 1, FEW)
    frame = pd.read_parquet(rows / "0.parquet")
    frame.to_csv(folder / "few.csv", index=False)
    pairs = []
    for number in range(3):
        theirs, _ = seconds(lambda number=number: subprocess.run(
            [sys.executable, "-m", "mlflow", "models", "predict", "-m", str(place), "--env-manager", "local", "-t", "csv",
             "-i", str(folder / "few.csv"), "-o", str(folder / f"told {number}.json")],
            check=True, capture_output=True,
        ))  # fmt: skip
        ctx = made.context("bench")
        ctx.compute = Compute(workers=2)
        source = written(folder / f"more {number}", FILES, ROWS)
        order = Order(model="wide", source=str(source), to=str(folder / f"more ours {number}"))
        ours, _ = seconds(lambda order=order, ctx=ctx: scored(order, ctx))
        told = json.loads((folder / f"told {number}.json").read_text())["predictions"]
        assert len(told) == FEW
        pairs.append((theirs / FEW, ours / (FILES * ROWS)))
    return compared(
        pairs, goal="G21", case=f"rows of {COLUMNS} numbers, rows a second", peer="mlflow models predict",
        must=5.0, stretch=20.0, better="higher", checksum=f"{FEW:,} and {FILES * ROWS:,} rows",
    )  # fmt: skip

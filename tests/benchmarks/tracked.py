"""G19: every step's loss in MLflow, beside the same training that notes nothing, and beside Lightning's MLFlowLogger."""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from components.context import open_context
from components.contracts.placement import Placement
from components.train import Telling
from components.train.supervisor import supervise
from tests.benchmarks import jobs
from tests.benchmarks.measure import compared
from tests.benchmarks.start_up import ROOT
from tests.benchmarks.training import bounds

BATCH, STEPS, EPOCHS, PAIRS = 64, 1000, 10, 10
FEW = 200
"""Steps of an epoch of the peer, which takes long for each."""


def shards(folder):
    held = 2 * BATCH
    rows, labels = jobs.vectors(BATCH * (STEPS + 2))
    return {
        "train": [jobs.written(folder, "t", rows[held:], labels[held:])],
        "validation": [jobs.written(folder, "v", rows[:held], labels[:held])],
    }


def ours(folder, data, *, on):
    """Seconds from the first to the last epoch, and how many points MLflow has then."""
    place = folder / f"{time.monotonic_ns()}"
    ctx = open_context(Placement(home=place), "bench")
    tracker = ctx.tracker
    if on:
        tracker.start("bench", {}, {})
    told = Telling(ctx, [])
    settings = {"max_epochs": EPOCHS, "batch_size": BATCH, "schedule": "constant", "log_steps": int(on)}
    made = jobs.whole(place, dict(data), jobs.MLP, **settings)
    ends = []

    def heard(event):
        if event["event"] == "epoch":
            ends.append(time.perf_counter())
        told(event)

    supervise(made, place / "logs", heard)
    points = 0
    if on:
        tracker.end("FINISHED")
        points = len(tracker.client.get_metric_history(tracker.run_id, "step_loss"))
    return ends[-1] - ends[0], points


@cache
def on_and_off():
    """Pairs of a training that notes every step and one that notes nothing."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as place:
        folder = Path(place)
        data = shards(folder)
        pairs = []
        for number in range(PAIRS + 1):
            found = {}
            for on in (True, False) if number % 2 else (False, True):
                found[on], points = ours(folder, data, on=on)
                assert not on or points == STEPS * EPOCHS, points
            pairs.append((found[True], found[False]))
    return pairs[1:]


def cost():
    """G19: the time with every step noted over that without, at about 1 ms a step; no point is lost."""
    pairs = on_and_off()
    low, high = bounds([one / other for one, other in pairs])
    names = {"goal": "G19", "case": f"every step noted, {STEPS * EPOCHS} steps", "peer": "the same without tracking"}
    each = f"{1000 * min(off for _, off in pairs) / STEPS / (EPOCHS - 1):.2f} ms a step, all {STEPS * EPOCHS} points"
    return compared(pairs, checksum=each, must=1.05, stretch=1.02, better="lower", **names).bounded(low, high)


def added():
    """G19: the time that tracking adds over what Lightning's MLFlowLogger adds to its own training."""
    command = [sys.executable, "-m", "tests.benchmarks.tracked_child", str(BATCH), str(FEW), str(EPOCHS), "2"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    mine = [max(on - off, 0.001) * FEW / STEPS for on, off in on_and_off()]
    pairs = [(one, theirs["added"][at % len(theirs["added"])]) for at, one in enumerate(mine)]
    names = {
        "goal": "G19",
        "case": f"time added to {FEW * EPOCHS} steps",
        "peer": "Lightning's MLFlowLogger, every step, SQLite",
    }
    return compared(pairs, checksum=json.dumps(theirs), must=0.1, stretch=0.03, better="lower", **names)

"""One data set and one plan of faults, for trainings in homes of their own."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from components import smoke
from components.adapters.compute import Compute
from components.context import open_context
from components.contracts.placement import Placement
from components.contracts.registry import load_kind
from components.models import KINDS
from components.objectives.classification import Classification
from components.train import TrainConfig, TrainSettings
from components.train import run as run_training

EPOCHS = 3


@dataclass
class Place:
    """One data set, one plan, and as many homes as tries."""

    folder: Path
    dataset: object

    @property
    def plan(self):
        return self.folder / "plan"

    @property
    def log(self):
        return self.folder / "log"

    def context(self, home):
        shutil.copytree(self.folder / "data home", self.folder / home, dirs_exist_ok=True)
        ctx = open_context(Placement(home=self.folder / home), "t")
        ctx.compute = Compute(workers=1, synchronous=True)
        ctx.lines = []
        ctx.progress.warned = ctx.lines.append
        return ctx

    def train(self, ctx, **settings):
        config = {"kind": "custom", "target": "tests.faults.faulty:Net", "plan": str(self.plan), "log": str(self.log)}
        config |= {name: settings.pop(name, 0.0) for name in ("milliseconds", "looking")}
        model = load_kind("components.models", KINDS, config, "model").model_validate(config)
        chosen = {"max_epochs": EPOCHS, "batch_size": 32, "learning_rate": 0.02, "checkpoint_steps": 2} | settings
        whole = TrainConfig(model=model, objective=Classification(), settings=TrainSettings(**chosen))
        self.rows(clear=True)
        return run_training(whole, self.dataset, ctx=ctx)

    def rows(self, rank=0, *, clear=False):
        path = Path(f"{self.log}-{rank}")
        found = path.read_text().split() if path.exists() else []
        if clear:
            for one in self.folder.glob("log-*"):
                # Two trainings at once clear the same.
                one.unlink(missing_ok=True)
        return found

    def hits(self):
        found = list(self.folder.glob("plan.hit-*"))
        for one in found:
            one.unlink()
        return len(found)


def same(made, rows, whole):
    """The same weights, bit for bit, the whole history, and each step's rows learnt from as if nothing had been."""
    checkpoint, steps = whole
    assert made.files == checkpoint.files
    assert made.history == checkpoint.history
    assert made.content == checkpoint.content
    again = len(rows) - len(steps)
    assert again >= 0
    # What came after the fault begins at a checkpoint, at most as many steps back as lie between two.
    assert any(
        rows[:cut] == steps[:cut] and rows[cut:] == steps[cut - again :] for cut in range(again, len(steps) + 1)
    ), (rows, steps)


def equal(first, second):
    assert first == second


def leftover():
    """Training processes that are still there; the server that they were forked from is none, nor is that of packages."""
    packages = smoke._running.process.pid if smoke._running else 0
    return [
        one
        for one in psutil.Process().children(recursive=True)
        if one.is_running() and one.status() != psutil.STATUS_ZOMBIE and os.getsid(one.pid) == one.pid != packages
    ]

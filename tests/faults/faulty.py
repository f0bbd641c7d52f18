"""A network of one's own that notes every batch it learns from, and in which a fault can be planned.

The plan is a file: `what number [rank]`. The event of that number, a training step or a moment of writing a checkpoint,
takes the plan away and does what it says, so that a fault strikes once.
"""

import contextlib
import hashlib
import itertools
import os
import signal
import time
from pathlib import Path

from components.contracts.config import CustomConfig
from components.train import checkpoints

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}


def jumping():
    """The wall clock jumps two hours forth and back from now on, at every look."""
    real, far = time.time, itertools.cycle([7200.0, -7200.0])
    time.time = lambda: real() + next(far)


class Events:
    """Counts in this process."""

    def __init__(self, plan):
        self.plan, self.seen, self.looks = Path(plan), 0, 0
        self.rank = int(os.environ.get("RANK", "0"))

    def happened(self, kind):
        self.seen += 1
        try:
            what, number, *rank = self.plan.read_text().split()
        except (FileNotFoundError, ValueError):
            return ""
        kinds = {"nan", "huge", "poison"} if kind != "step" else set()
        if what == "look" or self.seen < int(number) or what in kinds or self.rank != int(rank[0] if rank else 0):
            return ""
        self.plan.rename(self.plan.with_suffix(f".hit-{os.getpid()}"))
        if what in SIGNALS:
            os.kill(os.getpid(), SIGNALS[what])
        elif what == "hang":
            time.sleep(10_000)
        elif what == "clock":
            jumping()
        return what

    def looked(self):
        """A validation batch: a plan `look N` asks the process to stop at the nth."""
        self.looks += 1
        with contextlib.suppress(FileNotFoundError):
            if self.plan.read_text() == f"look {self.looks}":
                self.plan.rename(self.plan.with_suffix(f".hit-{os.getpid()}"))
                os.kill(os.getpid(), signal.SIGTERM)

    def around(self, name):
        whole = getattr(checkpoints, name)

        def counted(*arguments):
            self.happened(name)
            result = whole(*arguments)
            self.happened(name)
            return result

        setattr(checkpoints, name, counted)


class Net(CustomConfig):
    """Dropout between two layers."""

    plan: str
    log: str = ""
    milliseconds: float = 0.0
    looking: float = 0.0

    def build(self, inputs, outputs):
        import torch

        events, log, pause, looking = Events(self.plan), self.log, self.milliseconds / 1000, self.looking / 1000
        for name in ("_written", "_synced"):
            events.around(name)

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.one, self.drop, self.two = torch.nn.Linear(1, 16), torch.nn.Dropout(0.3), torch.nn.Linear(16, 2)

            def forward(self, batch):
                rows, scale = batch["numbers"], 1.0
                if looking and not self.training:
                    events.looked()
                    time.sleep(looking)
                if self.training:
                    what = events.happened("step")
                    time.sleep(pause)
                    if what == "nan":
                        scale = float("nan")
                    if what == "huge":
                        torch.empty(1 << 50)
                    if log:
                        name = hashlib.sha256(rows.sort(0).values.numpy().tobytes()).hexdigest()[:12]
                        with Path(f"{log}-{events.rank}").open("a") as file:
                            file.write(f"{name}\n")
                answers = self.two(self.drop(torch.relu(self.one(rows[:, :1])))) * scale
                if self.training and what == "poison":
                    answers.register_hook(lambda gradient: gradient * float("nan"))
                return {"label": answers}

        return Net()

"""G12's peer in a process of its own: epochs of a hand-written loop when they are asked for; G13: whole fits in turns.

Prints JSON: the seconds and the accuracy of an epoch, or those of each pair of fits.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from components.train import worker
from tests.benchmarks import jobs


def network(kind):
    nn = torch.nn
    if kind == "mlp":
        return nn.Sequential(
            nn.Linear(jobs.WIDTH, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, jobs.CLASSES)
        )
    return nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 64),
        nn.ReLU(),
        nn.Linear(64, jobs.CLASSES),
    )


class Loop:
    """What a person writes: a loader of tensors in memory that are scaled already, zero, forward, backward, step."""

    def __init__(self, kind, rows, labels, batch, *, channels_last=False, fused=False):
        values = torch.from_numpy(rows)
        if kind == "cnn":
            values = (values.float() - 127.5) / 64
        labels = torch.from_numpy(labels[:, 0]).long()
        held = batch * 2
        self.train = DataLoader(TensorDataset(values[held:], labels[held:]), batch, shuffle=True)
        self.held = DataLoader(TensorDataset(values[:held], labels[:held]), batch)
        self.network = network(kind)
        self.layout = {"memory_format": torch.channels_last} if channels_last else {}
        self.network.to(**self.layout)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 1e-3, fused=fused or None)
        self.accuracy = 0.0

    def epoch(self):
        """Seconds of an epoch and a look at the held rows."""
        began = time.perf_counter()
        self.network.train()
        total = torch.zeros(())
        for values, labels in self.train:
            self.optimizer.zero_grad()
            loss = cross_entropy(self.network(values.to(**self.layout)), labels)
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        self.network.eval()
        right = 0
        with torch.no_grad():
            for values, labels in self.held:
                right += int((self.network(values.to(**self.layout)).argmax(1) == labels).sum())
        self.accuracy = right / len(self.held.dataset)
        return time.perf_counter() - began


def fastest(kind, rows, labels, batch):
    """The loop in its fastest setting of three, and what each took."""
    tried = {}
    for channels_last, fused in ((False, False), (False, True), (True, True)):
        if channels_last and kind == "mlp":
            continue
        loop = Loop(kind, rows, labels, batch, channels_last=channels_last, fused=fused)
        tried[channels_last, fused] = min(loop.epoch() for _ in range(3))
    best = min(tried, key=tried.get)
    said = {f"channels_last={last}, fused={fused}": round(took, 3) for (last, fused), took in tried.items()}
    return Loop(kind, rows, labels, batch, channels_last=best[0], fused=best[1]), said


def served(kind, batch):
    """An epoch of the loop for each line that comes, and its seconds and accuracy as a line back."""
    rows, labels = jobs.data(kind, batch)
    loop, tried = fastest(kind, rows, labels, batch)
    print(json.dumps(tried), flush=True)
    for _ in sys.stdin:
        print(json.dumps([loop.epoch(), loop.accuracy]), flush=True)


def beside_lightning(batch, pairs, epochs=3):
    import logging
    import warnings

    import pytorch_lightning as pl
    from pytorch_lightning.loggers import CSVLogger

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning")
    rows, labels = jobs.data("mlp", batch)
    values, classes = torch.from_numpy(rows), torch.from_numpy(labels[:, 0]).long()
    held = batch * 2

    class Theirs(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.network, self.ends = network("mlp"), []

        def training_step(self, given, _):
            loss = cross_entropy(self.network(given[0]), given[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, given, _):
            self.log("accuracy", (self.network(given[0]).argmax(1) == given[1]).float().mean())

        def on_train_epoch_end(self):
            self.ends.append(time.perf_counter())

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 1e-3)

    def theirs(folder):
        module = Theirs()
        trainer = pl.Trainer(
            max_epochs=epochs + 1,
            accelerator="cpu",
            logger=CSVLogger(folder),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        train = DataLoader(TensorDataset(values[held:], classes[held:]), batch, shuffle=True)
        trainer.fit(module, train, DataLoader(TensorDataset(values[:held], classes[:held]), batch))
        return module.ends[-1] - module.ends[0], float(trainer.callback_metrics["accuracy"])

    def ours(folder):
        ends = []
        made = jobs.learning("mlp", batch, epochs + 1, Path(folder))
        done = worker.work(made, lambda event: ends.append(time.perf_counter()) if event["event"] == "epoch" else None)
        torch.use_deterministic_algorithms(False)
        return ends[-1] - ends[0], done["metrics"]["validation_accuracy"]

    taken, learnt = [], {}
    for number in range(pairs + 1):
        found = {}
        for who in (ours, theirs) if number % 2 else (theirs, ours):
            with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
                found[who.__name__], learnt[who.__name__] = who(folder)
        taken.append((found["ours"], found["theirs"]))
    return {"pairs": taken[1:], "learnt": learnt}


if __name__ == "__main__":
    what, batch = sys.argv[1], int(sys.argv[2])
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - Lightning draws from it
    if what == "lightning":
        print(json.dumps(beside_lightning(batch, int(sys.argv[3]))))
    else:
        served(what, batch)

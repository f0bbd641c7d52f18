"""Trains the job in the folder that it is given and says which rows each epoch saw."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytorch_lightning as pl

from components.train import worker

SEEN = []


class Rows(pl.Callback):
    """Counts the rows of each batch."""

    def on_train_epoch_start(self, trainer, module):
        """A new epoch."""
        SEEN.append({"count": np.zeros(worker_rows, np.uint8), "first": None})

    def seen(self, batch):
        """Which rows."""
        rows = batch["row"].numpy()
        np.add.at(SEEN[-1]["count"], rows, 1)
        if SEEN[-1]["first"] is None:
            SEEN[-1]["first"] = tuple(rows[:8].tolist())


job = json.loads(Path(sys.argv[1], "job.json").read_text())
worker_rows = sum(file["rows"] for file in job["shards"]["train"])
real = pl.Trainer
looks = Rows()
worker.pl.Trainer = lambda **settings: real(**{**settings, "callbacks": [*settings["callbacks"], looks]})
lost = worker.Learner.loss_of
worker.Learner.loss_of = lambda learner, batch, number: (looks.seen(batch), lost(learner, batch, number))[1]
shuffled = []
data = worker.DatasetModule
worker.DatasetModule = lambda given, **rank: (
    one := data(given, **rank),
    shuffled.append(one.training.loader.shuffled),
)[0]
began = time.perf_counter()
done = worker.work(job, lambda _: None)
print(
    json.dumps({
        "epochs": [int((one["count"] == 1).sum()) for one in SEEN],
        "twice": sum(int((one["count"] > 1).sum()) for one in SEEN),
        "orders": len({one["first"] for one in SEEN}),
        "shuffled": shuffled[0],
        "seconds": round(time.perf_counter() - began, 1),
        "validation_accuracy": done["metrics"]["validation_accuracy"],
    })
)

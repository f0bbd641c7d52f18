"""Lightning's Trainer with its MLFlowLogger on every step, and without: the time that it adds. Prints a JSON object."""

import json
import logging
import sys
import tempfile
import time
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import MLFlowLogger
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from tests.benchmarks import jobs
from tests.benchmarks.training_child import network


class Theirs(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.network, self.ends = network("mlp"), []

    def training_step(self, given, _):
        loss = cross_entropy(self.network(given[0]), given[1])
        if self.logger is not None:
            self.log("step_loss", loss)
        return loss

    def on_train_epoch_end(self):
        self.ends.append(time.perf_counter())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-3)


def fitted(batch, steps, epochs, *, on):
    rows, labels = jobs.vectors(batch * steps)
    loader = DataLoader(
        TensorDataset(torch.from_numpy(rows), torch.from_numpy(labels[:, 0]).long()), batch, shuffle=True
    )
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        logger = MLFlowLogger("bench", tracking_uri=f"sqlite:///{folder}/mlflow.db") if on else False
        module = Theirs()
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=logger,
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(module, loader)
        return module.ends[-1] - module.ends[0]


if __name__ == "__main__":
    batch, steps, epochs, times = map(int, sys.argv[1:])
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    found = [(fitted(batch, steps, epochs, on=True), fitted(batch, steps, epochs, on=False)) for _ in range(times)]
    print(json.dumps({"added": [on - off for on, off in found], "with": [on for on, _ in found]}))

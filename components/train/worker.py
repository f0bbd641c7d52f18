"""The child's side of training: a job in, weights in its folder, events out. Imports torch and Lightning."""

import logging
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from safetensors.torch import save_file
from torch import Tensor

from components.train.blame import blamed
from components.train.data import DatasetModule
from components.train.module import Learner

Tell = Callable[[dict[str, Any]], None]
TELL_SECONDS = 0.5
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
"""Lightning's names."""


class Reporter(Callback):
    """Tells each epoch, keeps the best weights, and ends the run when nothing gets better."""

    def __init__(self, tell: Tell, job: dict[str, Any]) -> None:
        settings = job["settings"]
        self._tell, self._total, self._patience = tell, settings["max_epochs"], settings["patience"]
        self._monitor, self._sign = settings["monitor"], 1 if job["more_is_better"] else -1
        self._told = time.monotonic()
        self.best: dict[str, float] = {}
        self.weights: dict[str, Tensor] = {}
        self._best_epoch = 0
        self.device = ""

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Note the device: when fit returns, the module is back on the CPU."""
        self.device = str(module.device)

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        """Say now and then how far the epoch is."""
        if time.monotonic() - self._told < TELL_SECONDS:
            return
        self._told = time.monotonic()
        done = trainer.current_epoch + (trainer.fit_loop.batch_idx + 1) / max(trainer.num_training_batches, 1)
        self._tell({"event": "step", "done": done, "total": self._total, "metrics": {}})

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        """Compare with the best epoch so far."""
        metrics = module.epoch_metrics()
        if not all(map(math.isfinite, metrics.values())):
            raise blamed(module.network, module.seen, trainer.current_epoch + 1)
        name = f"validation_{self._monitor}"
        if not self.best or self._sign * metrics[name] > self._sign * self.best[name]:
            self.best, self._best_epoch = metrics, trainer.current_epoch
            self.weights = {key: value.detach().cpu().clone() for key, value in module.network.state_dict().items()}
        self._told = time.monotonic()
        done = trainer.current_epoch + 1
        self._tell({"event": "epoch", "done": done, "total": self._total, "metrics": metrics})
        if self._patience and trainer.current_epoch - self._best_epoch >= self._patience:
            trainer.should_stop = True


def work(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Train; returns the metrics of the kept epoch and the device used."""
    settings = job["settings"]
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning")
    torch.manual_seed(settings["seed"])
    torch.use_deterministic_algorithms(True, warn_only=True)
    data = DatasetModule(job)
    learner = Learner(job, len(data.training))
    reporter = Reporter(tell, job)
    trainer = pl.Trainer(
        accelerator=settings["accelerator"],
        devices=settings["devices"],
        precision=PRECISIONS[settings["precision"]],
        max_epochs=settings["max_epochs"],
        callbacks=[reporter],
        # Players shorten their own.
        gradient_clip_val=(settings["clip"] or None) if learner.automatic_optimization else None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=job["folder"],
    )
    trainer.fit(learner, datamodule=data)
    save_file({key: value.contiguous() for key, value in reporter.weights.items()}, _weights(job))
    return {"metrics": reporter.best, "device": reporter.device}


def _weights(job: dict[str, Any]) -> Path:
    return Path(job["folder"]) / "weights.safetensors"

"""The loader as Lightning's data module: batches as tensors, and a place in an epoch that training can go on from.

Lightning is handed what is left of an epoch instead of batches, and so its loop is paid for once an epoch and not once
a step. What data-parallel strategies do between steps is done by their backward pass alone, which they see.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from components.adapters.dataset_store import Loader, ShardFile
from components.contracts.artifacts import FittedFeature
from components.features.feature import tensor_of
from components.features.several import parts_of_fitted
from components.features.shards import lookups_of
from components.statistics.keys import TRAIN, VALIDATION

Stretch = Iterator[tuple[int, dict[str, Any]]]
"""Batches in a row, each with its number in the epoch."""


class Batches:
    """Batches as tensors: each iteration is the next epoch, or what is left of one."""

    def __init__(self, loader: Loader, *, pinned: bool) -> None:
        self.loader, self._pinned = loader, pinned
        self.epoch, self.batch = 0, 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.loader.ahead(self.epoch, self.batch, empty=_pinned if self._pinned else None):
            # Lightning does not come back after the last.
            last = self.batch + 1 == len(self)
            self.epoch, self.batch = (self.epoch + 1, 0) if last else (self.epoch, self.batch + 1)
            tensors = {name: tensor_of(values) for name, values in batch.items()}
            yield {name: _held(one) for name, one in tensors.items()} if self._pinned else tensors


class DatasetModule(pl.LightningDataModule):
    """Training and validation batches of one job, for one rank of `ranks`.

    Its state is the epoch and how many of its batches were handed out; who loads it gets the rows that come next.
    """

    def __init__(self, job: dict[str, Any], *, rank: int = 0, ranks: int = 1) -> None:
        super().__init__()
        settings = job["settings"]
        fitted = [FittedFeature.model_validate(one) for one in job["features"]]
        fitted += parts_of_fitted(FittedFeature.model_validate(job["target"]))
        if job.get("groups"):
            fitted.append(FittedFeature.model_validate(job["groups"]))
        pinned = settings["accelerator"] != "cpu" and torch.cuda.is_available()

        def batches(split: str, **order: Any) -> Batches:
            files = [ShardFile(**file) for file in job["shards"][split]]
            lookups = lookups_of(files, fitted)
            size = settings["batch_size"]
            return Batches(Loader(files, size, lookups=lookups, rank=rank, ranks=ranks, **order), pinned=pinned)

        target = job["target"]["config"]["name"]
        order = {"seed": settings["seed"], "shuffle": settings["shuffle"], "classes": target, "rates": job["rates"]}
        drawn = {"seed": settings["seed"]} if job["mixed"] else {}
        self.training, self.validation = batches(TRAIN, **order), batches(VALIDATION, **drawn)

    def train_dataloader(self) -> "Stretches":
        """Shuffled anew in each epoch."""
        return Stretches(self.training)

    def val_dataloader(self) -> "Stretches":
        """In the order of the shards."""
        return Stretches(self.validation)

    def state_dict(self) -> dict[str, Any]:
        """Where training is, and how rows are shuffled."""
        return {"epoch": self.training.epoch, "batch": self.training.batch, "nearby": self.training.loader.nearby}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.training.epoch, self.training.batch = state_dict["epoch"], state_dict["batch"]
        self.validation.epoch = self.training.epoch
        # The order hangs on it; this machine may have another memory.
        self.training.loader.nearby = state_dict["nearby"]


class Stretches:
    """What Lightning iterates over."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Stretch]:
        yield enumerate(self._batches, self._batches.batch)


def _held(values: Any) -> Any:
    """The same in pinned memory; ragged values and weights are not gathered into it."""
    if isinstance(values, tuple):
        return tuple(map(_held, values))
    return values if values.is_pinned() else values.pin_memory()


def _pinned(shape: tuple[int, ...], kind: Any) -> Any:
    """Memory that a GPU copies from while the CPU goes on; torch keeps it until the copy is done."""
    like = torch.from_numpy(np.empty(0, kind)).dtype
    return torch.empty(shape, dtype=like, pin_memory=True).numpy()

"""What one batch gives: fitted features on its device, augmentation, the model's answers, their loss and metrics.

Metrics stay tensors on the device until the epoch's end: reading one costs a synchronisation, and `self.log` on every
step costs more than a small model's step.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from components.augment import KINDS as AUGMENTATIONS
from components.augment.augmentation import augmented, generator
from components.contracts.artifacts import FittedFeature
from components.contracts.config import custom_modules
from components.contracts.errors import ConfigError, MillraceError
from components.contracts.registry import load_kind
from components.contracts.spec import GROUPS, ROW_WEIGHT, TensorSpec
from components.features.fitted import load_feature
from components.features.several import parts_of_fitted
from components.models import KINDS as MODELS
from components.objectives import KINDS as OBJECTIVES
from components.train.blame import refused
from components.train.entry import starved
from components.train.starting import take_over
from components.train.teaching import distilled, teacher_of

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""What is computed in, by `precision`."""


class Forward(pl.LightningModule):
    """One job's network, and what a batch gives with it."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__()
        self.settings = job["settings"]
        self.epoch = 0
        self._features = [FittedFeature.model_validate(one) for one in job["features"]]
        self._targets = parts_of_fitted(FittedFeature.model_validate(job["target"]))
        self._loaded = {id(one): load_feature(one) for one in (*self._features, *self._targets)}
        objective = load_kind("components.objectives", OBJECTIVES, job["objective"], "objective")
        self.objective = objective.model_validate(job["objective"])
        model = load_kind("components.models", MODELS, job["model"], "model").model_validate(job["model"])
        targets = [TensorSpec.model_validate(spec) for spec in job["outputs"]]
        inputs = [TensorSpec.model_validate(spec) for spec in job["inputs"]]
        self._outputs = self.objective.outputs(targets, inputs)
        self.network = model.build(inputs, self._outputs)
        if job.get("pretrained"):
            take_over(self.network, Path(job["pretrained"]), self.settings["pretrained"]["parts"])
        # Not a part of this module: its weights are neither learnt nor kept.
        self._teacher = [teacher_of(job["teacher"])] if job.get("teacher") else []
        self._own = custom_modules(model)
        if not self._own and any(isinstance(one, torch.nn.Conv2d) for one in self.network.modules()):
            # Convolutions are faster where a pixel's channels lie side by side; inputs follow the weights. Of a user's
            # own network nobody knows whether it minds.
            self.network.to(memory_format=torch.channels_last)
        self._weights, self._group_weights = torch.tensor(job["weights"]), torch.tensor(job.get("group_weights", []))
        self._sizes = job.get("group_sizes", [])
        self._augment = [
            load_kind("components.augment", AUGMENTATIONS, one, f"augment.{number}").model_validate(one)
            for number, one in enumerate(job["augment"])
        ]
        self._half = HALVES.get(self.settings["precision"])
        self._sums: dict[str, dict[str, Tensor]] = {"train": {}, "validation": {}}
        self.seen: dict[str, Tensor] = {}

    def loss_of(self, batch: dict[str, Tensor], number: int = 0) -> Tensor:
        """The training loss of one batch, the `number`th of its epoch."""
        return self._step(batch, "train", number)

    def epoch_metrics(self) -> dict[str, float]:
        """Means over the rows since the last call, of all ranks, as `train_loss`, `validation_accuracy` and so on."""
        metrics: dict[str, float] = {}
        for split, sums in self._sums.items():
            names = sorted(sums)
            totals = (
                torch.stack([sums[name].to(self.device, torch.float64) for name in names]) if names else torch.empty(0)
            )
            if names and torch.distributed.is_initialized():
                torch.distributed.all_reduce(totals)
            found = dict(zip(names, totals.tolist(), strict=True))
            rows = found.pop("rows", 1.0)
            metrics |= {f"{split}_{name}": found[name] / rows for name in sums if name in found}
            sums.clear()
        return metrics

    def _cast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self._half) if self._half else nullcontext()

    def _inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.seen = {one.name: one.apply(batch[one.name], fitted.state) for one, fitted in self._pairs(self._features)}
        return dict(self.seen)

    def _augmented(self, inputs: dict[str, Tensor], number: int) -> tuple[dict[str, Tensor], Any, Any]:
        """The inputs of the `number`th batch of an epoch; with which other rows they were mixed, and by which share."""
        if not self._augment:
            return inputs, None, None
        draw = generator(self.device, self.settings["seed"], self.epoch, number, self.global_rank)
        return augmented(self._augment, inputs, draw)

    def _add(self, split: str, sums: dict[str, Tensor]) -> None:
        for name, value in sums.items():
            held = self._sums[split].get(name)
            self._sums[split][name] = value if held is None else held + value

    def _step(self, batch: dict[str, Tensor], split: str, number: int = 0) -> Tensor:
        inputs = self._inputs(batch)
        loaded = self._pairs(self._targets)
        labels = {one.name: one.apply(batch[one.name], fitted.state) for one, fitted in loaded}
        targets = {**inputs, **labels}
        if split == "train" and len(self._group_weights):
            targets[GROUPS] = self._numbered(batch[GROUPS])
        other: Any = None
        own: Any = None
        if split == "train":
            inputs, other, own = self._augmented(inputs, number)
        outputs = self._checked(self._answers(inputs))
        if self.settings["precision"] != "float32":
            outputs = {name: one.float() if _narrow(one) else one for name, one in outputs.items()}
        # Of rows that only fill up a rank's batch it is 0, and of those that are not to be learnt.
        counts = [batch[ROW_WEIGHT]] if ROW_WEIGHT in batch else []
        counts += [one.counts(labels[one.name]) for one, _ in loaded if hasattr(one, "counts")]
        filled = {ROW_WEIGHT: torch.stack(counts).prod(0)} if counts else {}
        loss = self._loss(outputs, targets, filled, split, own)
        if other is not None and own is not None:
            own_ones = {name: one for name, one in targets.items() if name in labels or name == GROUPS}
            theirs = {**targets, **{name: one[other] for name, one in own_ones.items()}}
            loss = loss + self._loss(outputs, theirs, filled, split, 1 - own)
        if self._teacher and split == "train":
            loss = self._taught(loss, outputs, inputs, filled.get(ROW_WEIGHT))
        rows = torch.tensor(float(len(next(iter(labels.values())))))
        with torch.no_grad():
            sums = {"loss": loss.detach() * rows, **self.objective.scores(outputs, targets | filled)}
            if ROW_WEIGHT in batch:
                # Rows that fill up count nothing, and the others once.
                weights = batch[ROW_WEIGHT]
                sums = {name: value / weights.max().clamp(min=1) for name, value in sums.items()}
                rows = (weights > 0).sum().float()
            self._add(split, {**sums, "rows": rows})
        return loss

    def _taught(self, loss: Tensor, outputs: Any, inputs: dict[str, Tensor], weights: Tensor | None) -> Tensor:
        """The loss, a share of which is how far the outputs are from what the teacher gives for the same inputs."""
        teacher, asked = self._teacher[0].to(self.device), self.settings["teacher"]
        with torch.no_grad(), self._cast():
            known = teacher(inputs)
        away = distilled(self.objective.kind, outputs, known, weights, asked["temperature"])
        mixed: Tensor = (1 - asked["share"]) * loss + asked["share"] * away
        return mixed

    def _answers(self, inputs: dict[str, Tensor]) -> Any:
        """What the network gives; a mistake in a user's own is told as such."""
        try:
            with self._cast():
                return self.network(inputs)
        except Exception as error:
            if not self._own or isinstance(error, MillraceError) or starved(error):
                raise
            raise refused(error, self._own, self.network, inputs) from error

    def _loss(
        self, outputs: Any, targets: dict[str, Tensor], filled: dict[str, Tensor], split: str, own: Any
    ) -> Tensor:
        """The loss, each row weighed by its class, by how much of it is its own, and by whether it only fills up."""
        labels = targets[self._loaded[id(self._targets[0])].name]
        factors = list(filled.values())
        if split == "train" and len(self._weights):
            factors.append(self._weights.to(self.device)[labels])
        if GROUPS in targets:
            factors.append(self._group_weights.to(self.device)[targets[GROUPS], labels])
        if own is not None:
            factors.append(own.expand(len(labels)))
        weights = {ROW_WEIGHT: torch.stack(factors).prod(0)} if factors else {}
        with torch.autocast(self.device.type, enabled=False):
            loss: Tensor = self.objective.loss(outputs, targets | weights)
        return loss

    def _numbered(self, codes: Tensor) -> Tensor:
        """The rows' groups, as the weights count them (preprocess/reweigh.py)."""
        found = torch.zeros(len(codes), dtype=torch.int64, device=codes.device)
        for at, size in enumerate(self._sizes):
            found = found * size + codes[:, at].long()
        return found

    def _checked(self, outputs: Any) -> Any:
        """What the network gave, if it is what a network has to give; it may be a user's own."""
        wanted = {spec.name: spec for spec in self._outputs}
        found: Any = type(outputs).__name__
        if isinstance(outputs, Mapping):
            if all(_has_shape(outputs.get(name), spec.shape) for name, spec in wanted.items()):
                return outputs
            shapes = {name: list(one.shape) for name, one in outputs.items() if isinstance(one, Tensor)}
            found = ", ".join(f"{name}: {shapes.get(name, type(one).__name__)}" for name, one in outputs.items())
        raise ConfigError(
            "E_CONFIG",
            "the model's network gives something else than a dict of the tensors that it has to give",
            place="model",
            value=found,
            allowed=", ".join(f"{name}: {['batch', *spec.shape]}" for name, spec in wanted.items()),
            action="return a dict with these names and shapes from forward",
        )

    def _pairs(self, fitted: Sequence[FittedFeature]) -> list[tuple[Any, FittedFeature]]:
        return [(self._loaded[id(one)], one) for one in fitted]


def _has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether it is a tensor of such rows; -1 is any size."""
    return (
        isinstance(value, Tensor)
        and value.dim() == 1 + len(shape)
        and all(said in {-1, size} for size, said in zip(value.shape[1:], shape, strict=True))
    )


def _narrow(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in {torch.bfloat16, torch.float16}

"""Dataset → Checkpoint: gradients by Lightning, in a child process that cannot outlive this one, or passes (passes.py).

Here: the job that the child gets, and the result. What a person sets is settings.py, the child's side worker.py and
module.py; supervisor.py ties the two together. Where training is, is kept by the result's fingerprint until there is
one: whoever runs the same goes on from there.
"""

import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from components.augment.augmentation import check_inputs
from components.context import RunContext
from components.contracts.artifacts import Checkpoint, Dataset
from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError, DataError
from components.features.fitted import load_feature
from components.features.several import parts_of_fitted
from components.features.shards import shard_files
from components.objectives.objective import check_monitor
from components.statistics.keys import TRAIN, VALIDATION
from components.train import teaching
from components.train.devices import check_devices, computed_in, precision_warning, processes
from components.train.pretrained import located
from components.train.settings import TrainSettings
from components.train.supervisor import supervise

__all__ = ["TrainConfig", "TrainSettings", "job_of", "run"]


LONG_SECONDS = 2.0
"""Less is not worth telling how long it will take."""


class TrainConfig(StepConfig):
    """Model, objective, augmentations and settings."""

    model: Any
    objective: Any
    augment: tuple[Any, ...] = ()
    settings: TrainSettings = TrainSettings()


def run(config: TrainConfig, dataset: Dataset, *, ctx: RunContext) -> Checkpoint:
    """Train, and keep the weights of the epoch that was best on the validation part.

    Raises:
        EnvironmentFault: E_DEVICE, E_TRAINING.
        ConfigError: E_CONFIG, the model does not fit the data.
    """
    check_devices(config.settings)
    _check_rows(processes(config.settings) * config.settings.nodes, dataset)
    _check_shuffle(config.settings.shuffle, dataset)
    check_inputs(config.augment, dataset.inputs)
    check_monitor(config.objective, config.settings.monitor)
    _check_engine(config, dataset)
    _check_shared(config)
    _check_players(config)

    def build(folder: Path, weights: Path | None, progress: Path, tracked: list[dict[str, float]]) -> Checkpoint:
        told = Telling(ctx, tracked)
        if getattr(config.model, "passes", False):
            metrics = _by_passes(config, dataset, ctx, folder, told)
            result = {"metrics": metrics, "history": told.history, "device": "cpu", "precision": "float32"}
        else:
            kept = {"pretrained": str(weights or ""), "checkpoints": str(progress), "meeting": progress.name}
            kept["teacher"] = teacher
            job = job_of(config, dataset, ctx, folder) | kept
            if warning := precision_warning(config.settings):
                ctx.progress.warned(warning)
            result = supervise(job, ctx.placement.home / "logs", told) | {"precision": job["settings"]["precision"]}
        return Checkpoint(
            model=config.model.model_dump(mode="json"),
            objective=config.objective.model_dump(mode="json"),
            metrics=result["metrics"],
            history=tuple(result["history"]),
            device=result["device"],
            precision=result["precision"],
        )

    # What features do to a batch is part of what is trained.
    kinds = sorted({
        type(load_feature(one)).__module__ for one in (*dataset.features, *parts_of_fitted(dataset.target))
    })
    teacher, taught = teaching.found(config.settings.teacher, config.objective.kind, dataset, ctx)
    with located(config.settings.pretrained, ctx) as (weights, found):
        inputs = {"dataset": dataset.content, **found, **taught}
        key = ctx.key(Checkpoint, __name__, config, inputs, kinds=kinds)
        progress = ctx.placement.home / "training" / key.key
        tracked: list[dict[str, float]] = []
        made = ctx.committed(Checkpoint, key, lambda folder: build(folder, weights, progress, tracked))
        for number, metrics in enumerate(made.history[len(tracked) :], len(tracked) + 1):
            # It was trained before, or elsewhere: this run shows the same curves.
            ctx.tracker.metrics(metrics, number)
        shutil.rmtree(progress, ignore_errors=True)
        return made


class Telling:
    """Passes on what training says: epochs and steps to the tracker, once each, and all of it to who watches."""

    def __init__(self, ctx: RunContext, history: list[dict[str, float]]) -> None:
        self._ctx, self._step, self._used = ctx, 0, 0
        self._known, self._since = "", (0.0, 0.0)
        self.history = history

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event, if the run that it is for has not been declared dead."""
        self._ctx.store.still_ours()
        kind = event["event"]
        if kind == "warning":
            self._ctx.progress.warned(event["line"])
        elif kind == "system":
            if event["step"] > self._used:
                self._used = event["step"]
                self._ctx.tracker.metrics(event["metrics"], event["step"])
        elif kind == "resumed":
            self._ctx.progress.warned(f"training goes on from step {event['step']:,}")
            for metrics in event["history"][len(self.history) :]:
                self._note(metrics)
        elif kind == "epoch":
            # What was done again after a checkpoint is known already.
            if event["done"] > len(self.history):
                self._note(event["metrics"])
            self._known = _said({name: one for name, one in event["metrics"].items() if "validation_" in name})
            self._show(event, self._known)
        elif kind == "step":
            self._steps(event)
            self._show(event, ", ".join(filter(None, [_said({"loss": event["now"]["loss"]}), self._known])))

    def _note(self, metrics: dict[str, float]) -> None:
        self.history.append(metrics)
        self._ctx.tracker.metrics(metrics, len(self.history))
        self._ctx.judge(metrics, len(self.history))

    def _steps(self, event: dict[str, Any]) -> None:
        for step, loss in event["losses"]:
            if step > self._step:
                self._ctx.tracker.metrics({"step_loss": loss}, step)
        if event["losses"] and event["step"] > self._step:
            more = {name: value for name, value in event["now"].items() if name != "loss"}
            self._ctx.tracker.metrics(more, event["step"])
        self._step = max(self._step, event["step"])

    def _show(self, event: dict[str, Any], note: str) -> None:
        now, done = time.monotonic(), float(event["done"])
        began, first = self._since
        if not began:
            self._since = now, done
        left = (now - began) * (event["total"] - done) / (done - first) if began and done > first else 0.0
        ending = f", {timedelta(seconds=round(left))} left" if left > LONG_SECONDS else ""
        self._ctx.progress.advanced("train", done, event["total"], "epochs", note + ending)


def _said(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in metrics.items())


def _by_passes(
    config: TrainConfig, dataset: Dataset, ctx: RunContext, folder: Path, told: Callable[[dict[str, Any]], None]
) -> dict[str, float]:
    from components.train.passes import fit

    total = config.settings.max_epochs

    def passed(turn: int, metrics: dict[str, float]) -> None:
        told({"event": "epoch", "done": turn, "total": total, "metrics": metrics})

    return fit(config, dataset, ctx, folder, passed)


def _check_engine(config: TrainConfig, dataset: Dataset) -> None:
    """Raise E_CONFIG where a model that is fitted in passes is asked for what only gradients know."""
    asked = {
        "train.pretrained": config.settings.pretrained is not None,
        "train.teacher": config.settings.teacher is not None,
        "train.precision": config.settings.precision != "float32",
        "augment": bool(config.augment),
        "rebalance": bool(dataset.rates or dataset.weights),
        "reweigh": dataset.groups is not None,
    }
    place = next((name for name, there in asked.items() if there), "")
    if getattr(config.model, "passes", False) and place:
        raise ConfigError(
            "E_CONFIG",
            f"a model of kind {config.model.kind} is fitted in passes over the rows as they are",
            place=place,
            action="leave it out",
        )


def _check_shared(config: TrainConfig) -> None:
    """Raise E_CONFIG where parts of a network learn at times of their own, and no process has any part whole."""
    frozen = config.settings.pretrained is not None and bool(config.settings.pretrained.freeze)
    if config.settings.strategy == "fsdp" and (frozen or hasattr(config.objective, "players")):
        raise ConfigError(
            "E_CONFIG",
            "fsdp cannot divide a network with frozen parts" if frozen else "fsdp cannot divide players",
            place="train.strategy",
            value="fsdp",
            allowed="auto, ddp",
            action="set train.strategy=ddp",
        )


def _check_players(config: TrainConfig) -> None:
    """Raise E_CONFIG where players, who learn from each batch in turn, are asked to add batches up."""
    if hasattr(config.objective, "players") and config.settings.accumulate > 1:
        raise ConfigError(
            "E_CONFIG",
            f"the players of {config.objective.kind} learn from each batch",
            place="train.accumulate",
            value=config.settings.accumulate,
            allowed="1",
            action="leave it out, and set train.batch_size",
        )


def _check_rows(number: int, dataset: Dataset) -> None:
    """Raise E_TOO_FEW_ROWS where a process would have nothing to train or to validate on."""
    for split in (TRAIN, VALIDATION):
        if dataset.rows[split] < number:
            raise DataError(
                "E_TOO_FEW_ROWS",
                f"the {split} part has {dataset.rows[split]} rows for {number} processes",
                place="train.devices",
                value=number,
                allowed=f"at most {dataset.rows[split]}",
                action="bring more data, or train in fewer processes",
            )


def _check_shuffle(shuffle: str, dataset: Dataset) -> None:
    if shuffle == "nearby" and dataset.rates:
        raise ConfigError(
            "E_CONFIG",
            "rows of neighbouring blocks cannot come more or less often",
            place="train.shuffle",
            value=shuffle,
            allowed="auto, everywhere",
            action="change it, or set rebalance: weights",
        )


def _resolved(settings: TrainSettings) -> dict[str, Any]:
    """What `auto` means on this machine."""
    return {"devices": processes(settings), "precision": computed_in(settings)}


def job_of(config: TrainConfig, dataset: Dataset, ctx: RunContext, folder: Path) -> dict[str, Any]:
    """Everything that the child needs, as JSON: resolved config, shards, fitted features, where to write."""
    shards = {split: shard_files(dataset, ctx.store, split) for split in (TRAIN, VALIDATION)}
    return {
        "model": config.model.model_dump(mode="json"),
        "objective": config.objective.model_dump(mode="json"),
        "augment": [one.model_dump(mode="json") for one in config.augment],
        "settings": config.settings.model_dump(mode="json") | _resolved(config.settings),
        "features": [fitted.model_dump(mode="json") for fitted in dataset.features],
        "target": dataset.target.model_dump(mode="json"),
        "inputs": [spec.model_dump(mode="json") for spec in dataset.inputs],
        "mixed": getattr(config.objective, "mixed", False),
        "rates": list(dataset.rates),
        "weights": list(dataset.weights),
        "groups": dataset.groups.model_dump(mode="json") if dataset.groups else None,
        "group_sizes": [len(one) + 1 for one in dataset.groups.state["vocabularies"]] if dataset.groups else [],
        "group_weights": [list(one) for one in dataset.group_weights],
        "more_is_better": config.settings.monitor != "loss" and config.objective.monitored[config.settings.monitor],
        "outputs": [spec.model_dump(mode="json") for spec in dataset.outputs],
        "shards": {split: [vars(file) for file in files] for split, files in shards.items()},
        "folder": str(folder),
        "checkpoints": str(folder / "checkpoints"),
    }

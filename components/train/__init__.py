"""Dataset → Checkpoint: gradients by Lightning, in a child process that cannot outlive this one, or passes (passes.py).

Here: what a person sets, the job that the child gets, and the result. The child's side is worker.py and module.py;
supervisor.py ties the two together.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from components.augment.augmentation import check_inputs
from components.context import RunContext
from components.contracts.artifacts import Checkpoint, Dataset
from components.contracts.config import StepConfig, placed
from components.contracts.errors import ConfigError, DataError
from components.features.fitted import load_feature
from components.features.several import parts_of_fitted
from components.features.shards import shard_files
from components.objectives.objective import check_monitor
from components.statistics.keys import TRAIN, VALIDATION
from components.train.devices import check_devices
from components.train.pretrained import Pretrained, located
from components.train.supervisor import supervise


class TrainSettings(StepConfig):
    """How to train; the recipe's `train` section."""

    max_epochs: int = Field(20, ge=1, description="passes over the training rows, at most")
    batch_size: int = Field(64, ge=1, description="rows per step, over all processes together")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="sgd: with Nesterov's momentum")
    learning_rate: float = Field(1e-3, gt=0, description="peak step size")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(1e-2, ge=0, description="decay of the weights; of adamw, apart from the gradient")
    schedule: Literal["one-cycle", "cosine", "constant"] = Field(
        "one-cycle",
        description="one-cycle: up for `warm_up` of the steps, then by a cosine to zero, momentum the other way round "
        "(Smith 2018); cosine: the same with momentum as it is",
    )
    warm_up: float = Field(0.3, ge=0, lt=1, description="share of the steps in which the step size rises")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="what the network computes with in training; bfloat16: products in half the bits, weights and loss "
        "in float32 (a CPU with AVX512-BF16 or AMX and any GPU since 2020 are faster with it)",
    )
    clip: float = Field(0.0, ge=0, description="gradients longer than this are shortened to it; 0: none are")
    patience: int = Field(0, ge=0, description="end after this many epochs without a better one; 0: never")
    monitor: str = Field(
        "loss", description="validation metric that chooses the epoch: loss, or one that the objective offers"
    )
    shuffle: Literal["auto", "everywhere", "nearby"] = Field(
        "auto",
        description="everywhere: any row may come next; nearby: rows of neighbouring blocks are mixed, for data that "
        "exceed memory; auto: everywhere, while the training rows take up to half of the memory",
    )
    pretrained: Pretrained | None = Field(None, description="weights that training begins with")
    seed: int = Field(0, ge=0, description="of weights, order and dropout")
    accelerator: Literal["auto", "cpu", "gpu"] = placed("auto", description="auto: a GPU where there is one")
    devices: int = placed(1, ge=1, description="how many of them; one process so far")


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
    check_devices(config.settings.accelerator, config.settings.devices)
    _check_rows(config.settings.devices, dataset)
    _check_shuffle(config.settings.shuffle, dataset)
    check_inputs(config.augment, dataset.inputs)
    check_monitor(config.objective, config.settings.monitor)
    _check_engine(config, dataset)

    def build(folder: Path, weights: Path | None) -> Checkpoint:
        history: list[dict[str, float]] = []

        def told(event: dict[str, Any]) -> None:
            if event["event"] == "epoch":
                history.append(event["metrics"])
                ctx.tracker.metrics(event["metrics"], len(history))
            shown = {name: value for name, value in event["metrics"].items() if name.startswith("validation_")}
            note = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in shown.items())
            ctx.progress.advanced("train", event["done"], event["total"], "epochs", note)

        if getattr(config.model, "passes", False):
            result = {"metrics": _by_passes(config, dataset, ctx, folder, told), "device": "cpu"}
        else:
            job = {**job_of(config, dataset, ctx, folder), "pretrained": str(weights or "")}
            result = supervise(job, ctx.placement.home / "logs", told)
        return Checkpoint(
            model=config.model.model_dump(mode="json"),
            objective=config.objective.model_dump(mode="json"),
            metrics=result["metrics"],
            history=tuple(history),
            device=result["device"],
        )

    # What features do to a batch is part of what is trained.
    kinds = sorted({
        type(load_feature(one)).__module__ for one in (*dataset.features, *parts_of_fitted(dataset.target))
    })
    with located(config.settings.pretrained, ctx) as (weights, found):
        inputs = {"dataset": dataset.content, **found}
        return ctx.commit(Checkpoint, __name__, config, inputs, lambda folder: build(folder, weights), kinds=kinds)


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
        "train.precision": config.settings.precision != "float32",
        "augment": bool(config.augment),
        "rebalance": bool(dataset.rates or dataset.weights),
    }
    place = next((name for name, there in asked.items() if there), "")
    if getattr(config.model, "passes", False) and place:
        raise ConfigError(
            "E_CONFIG",
            f"a model of kind {config.model.kind} is fitted in passes over the rows as they are",
            place=place,
            action="leave it out",
        )


def _check_rows(processes: int, dataset: Dataset) -> None:
    """Raise E_TOO_FEW_ROWS where a process would have nothing to train or to validate on."""
    for split in (TRAIN, VALIDATION):
        if dataset.rows[split] < processes:
            raise DataError(
                "E_TOO_FEW_ROWS",
                f"the {split} part has {dataset.rows[split]} rows for {processes} processes",
                place="train.devices",
                value=processes,
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


def job_of(config: TrainConfig, dataset: Dataset, ctx: RunContext, folder: Path) -> dict[str, Any]:
    """Everything that the child needs, as JSON: resolved config, shards, fitted features, where to write."""
    shards = {split: shard_files(dataset, ctx.store, split) for split in (TRAIN, VALIDATION)}
    return {
        "model": config.model.model_dump(mode="json"),
        "objective": config.objective.model_dump(mode="json"),
        "augment": [one.model_dump(mode="json") for one in config.augment],
        "settings": config.settings.model_dump(mode="json"),
        "features": [fitted.model_dump(mode="json") for fitted in dataset.features],
        "target": dataset.target.model_dump(mode="json"),
        "inputs": [spec.model_dump(mode="json") for spec in dataset.inputs],
        "mixed": getattr(config.objective, "mixed", False),
        "rates": list(dataset.rates),
        "weights": list(dataset.weights),
        "more_is_better": config.settings.monitor != "loss" and config.objective.monitored[config.settings.monitor],
        "outputs": [spec.model_dump(mode="json") for spec in dataset.outputs],
        "shards": {split: [vars(file) for file in files] for split, files in shards.items()},
        "folder": str(folder),
    }

"""Distillation (Hinton 2015): a registered model that reads the same features says what a smaller one learns from.

It sees each batch as the learner does, augmented, so that both always speak of the same picture (Beyer 2022).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from components.context import RunContext
from components.contracts.artifacts import Dataset
from components.contracts.config import StepConfig, placed
from components.contracts.errors import ConfigError
from components.packages import PARTS
from components.raw_rows import package_folder
from components.registered import find

TAUGHT = ("classification", "multi-label", "regression")
"""Objectives whose outputs a teacher's can be compared with."""


class Teacher(StepConfig):
    """Who teaches, and how much is learnt from it and how much from the targets."""

    model: str = placed(description="a registered model that reads the same features: name, name@alias, name@version")
    share: float = Field(0.5, gt=0, le=1, description="of the loss, what is the teacher's; the rest is the targets'")
    temperature: float = Field(
        2.0, gt=0, description="of classes: how much both models' probabilities are softened before they are compared"
    )


def found(config: Teacher | None, objective: str, dataset: Dataset, ctx: RunContext) -> tuple[str, dict[str, str]]:
    """The teacher's folder, and its content as an input of the step; neither where nobody teaches.

    Raises:
        ConfigError: E_CONFIG, there is no such model, or it reads or tells something else.
    """
    if config is None:
        return "", {}
    if objective not in TAUGHT:
        raise _wrong("no teacher can say what is learnt here", objective, ", ".join(TAUGHT))
    place = find(ctx, config.model, "train.teacher.model")
    folder = package_folder(ctx.store, place.fingerprint)
    said = json.loads((folder / PARTS / "model.json").read_bytes())
    ours = [one.model_dump(mode="json") for one in dataset.features]
    if said["features"] != ours or said["inputs"] != [one.model_dump(mode="json") for one in dataset.inputs]:
        action = "train it on this recipe's data and features"
        raise _wrong("the teacher reads other features than this recipe makes", config.model, action)
    if said["target"]["state"] != dataset.target.state or said["objective"]["kind"] != objective:
        raise _wrong("the teacher tells something else than is learnt here", config.model, objective)
    return str(folder), {"teacher": place.content}


def distilled(kind: str, outputs: Mapping[str, Any], known: Mapping[str, Any], weights: Any, temperature: float) -> Any:
    """The mean over rows, times their weights if given, of how far `outputs` are from what the teacher gives.

    Of classes the Kullback-Leibler divergence times the temperature's square, so that its gradients do not shrink.
    """
    from torch.nn import functional

    (name,) = outputs
    ours, theirs = outputs[name].float(), known[name].float()
    if kind == "classification":
        pairs = functional.log_softmax(ours / temperature, 1), functional.log_softmax(theirs / temperature, 1)
        rows = functional.kl_div(*pairs, log_target=True, reduction="none").sum(1) * temperature**2
    elif kind == "multi-label":
        rows = functional.binary_cross_entropy_with_logits(ours, theirs.sigmoid(), reduction="none").mean(1)
    else:
        rows = functional.mse_loss(ours, theirs, reduction="none").flatten(1).mean(1)
    return (rows * weights).mean() if weights is not None else rows.mean()


def teacher_of(folder: str) -> Any:
    """Its network, which learns nothing."""
    from components.packages import open_package

    return open_package(Path(folder)).network.requires_grad_(requires_grad=False).eval()


def _wrong(what: str, value: str, allowed: str) -> ConfigError:
    return ConfigError(
        "E_CONFIG", what, place="train.teacher", value=value, allowed=allowed, action="name another, or leave it out"
    )

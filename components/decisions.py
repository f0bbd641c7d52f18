"""A package's temperature and thresholds, found on the raw validation rows that it answers."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from components.adapters.store import Store
from components.contracts.artifacts import Dataset
from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import OWN_COLUMNS
from components.objectives.decision import EVERYBODY, Decision, group_of, softened
from components.raw_rows import accepted, sampled, truth_of
from components.statistics.keys import VALIDATION

ROWS = 50_000
TEMPERATURES = np.exp(np.linspace(np.log(0.05), np.log(20), 241))
LEAST_GROUP = 20
"""A group of fewer validation rows has the threshold of everybody."""


class Threshold(StepConfig):
    """From which probability on the second of two classes is said."""

    goal: Literal["accuracy", "f1", "balanced", "parity", "opportunity"] = Field(
        description="accuracy, f1 of the second class, or the mean of both classes' recall (balanced) is greatest. "
        "parity: it is said as often of each group as of all. opportunity: as much of it is found in each as in all"
    )
    groups: tuple[str, ...] = Field((), description="columns, such as sex, whose values have a threshold each")

    @model_validator(mode="after")
    def _has_groups(self) -> Self:
        if self.goal in {"parity", "opportunity"} and not self.groups:
            raise ValueError(f"{self.goal} is between groups: name their columns in `groups`")
        return self


def decision_of(
    predictor: Any, dataset: Dataset, store: Store, *, temperature: bool, threshold: Threshold | None
) -> Decision:
    """What the package is to do with its probabilities.

    Raises:
        ConfigError: E_CONFIG, it has none, or a threshold is for two classes.
    """
    classes = len(predictor.target.classes)
    if predictor.objective.kind != "classification" or (threshold and classes != 2):
        raise ConfigError(
            "E_CONFIG",
            "a threshold is for two classes" if predictor.objective.kind == "classification" else "this is for classes",
            place="package.threshold" if threshold else "package.temperature",
            value=predictor.objective.kind,
            allowed="objective classification" + (" of two classes" if threshold else ""),
            action="leave it out",
        )
    rows, _ = accepted(predictor, sampled(dataset, store, VALIDATION, ROWS))
    truth, rows = truth_of(predictor, rows), rows.drop(list(OWN_COLUMNS))
    probabilities = predictor.predict(rows).answers["probabilities"]
    warmth = _temperature(probabilities, truth) if temperature else 1.0
    if threshold is None:
        return Decision(temperature=warmth)
    score = softened(probabilities, warmth)[:, 1]
    # As the package sees them when it decides.
    groups = group_of(predictor.cleaned(rows), threshold.groups) if threshold.groups else None
    found = _thresholds(threshold, score, truth == 1, groups)
    return Decision(temperature=warmth, thresholds=found, columns=threshold.groups)


def _temperature(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """The one at which the truth of these rows is likeliest."""
    own = np.arange(len(truth))
    losses = [-np.log(np.maximum(softened(probabilities, one)[own, truth], 1e-12)).mean() for one in TEMPERATURES]
    return round(float(TEMPERATURES[int(np.argmin(losses))]), 4)


def _thresholds(
    config: Threshold, score: NDArray[np.float32], positive: NDArray[np.bool_], groups: NDArray[Any] | None
) -> dict[str, float]:
    fair = config.goal in {"parity", "opportunity"}
    everybody = 0.5 if fair else _best(config.goal, score, positive)
    found = {EVERYBODY: everybody}
    if groups is None:
        return found
    said = score >= everybody
    share = float(said[positive].mean()) if config.goal == "opportunity" and positive.any() else float(said.mean())
    for name in sorted(set(groups)):
        own = groups == name
        judged = own & positive if config.goal == "opportunity" else own
        if judged.sum() < LEAST_GROUP or (not fair and not 0 < positive[own].sum() < own.sum()):
            continue
        found[name] = _above(score[judged], share) if fair else _best(config.goal, score[own], positive[own])
    return found


def _above(score: NDArray[np.float32], share: float) -> float:
    """The threshold that this share of the scores reaches."""
    ordered = np.sort(score)[::-1]
    count = round(share * len(ordered))
    if count == 0:
        return float(np.nextafter(ordered[0], np.float32(2)))
    if count == len(ordered):
        return float(ordered[-1])
    return float((ordered[count - 1] + ordered[count]) / 2)


def _best(goal: str, score: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Of all thresholds the one that reaches the goal best; in the middle between two scores, or above all of them."""
    order = np.argsort(-score, kind="stable")
    ordered, right = score[order], positive[order]
    ends = np.append(np.diff(ordered) != 0, True)
    hit, said = np.append(0, np.cumsum(right)[ends]), np.append(0, np.flatnonzero(ends) + 1)
    total, others = max(int(positive.sum()), 1), max(int((~positive).sum()), 1)
    wrong = said - hit
    figures = {
        "accuracy": hit - wrong,
        "f1": 2 * hit / (said + total),
        "balanced": hit / total - wrong / others,
    }
    at = int(np.argmax(figures[goal]))
    bounds = np.append(np.nextafter(ordered[0], np.float32(2)), ordered[ends])
    return float((bounds[at] + bounds[at + 1]) / 2) if 0 < at < len(bounds) - 1 else float(bounds[at])

"""What a learning task offers, and how its answers are told.

`decode` turns what the network gave into answers: arrays with one row per row, in the target's own units. What a user
reads, the metrics of the test part and the figures of the report are all made from answers, without the network.

An objective with `players`, parts of the network that learn in turns, each with an optimiser of its own, offers
`turns(network, inputs, step)` instead of learning from `loss`, and `betas` of those optimisers. One may also offer
`portraits(network, features with their states)`: figures of what the network itself learnt.

One whose loss compares the rows of a batch says `mixed`, so that validation rows come in a drawn order too.

One whose metrics hang on how inputs are made (an error of scaled numbers, nats a token) says `relative`.

A metric that is a mean over rows comes from `row_metrics`. Any other (R², AUROC) comes from `pooled`, which is given a
weight for each row, so that rows can be drawn again and again without being copied.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.contracts.errors import ConfigError
from components.contracts.registry import nearest
from components.contracts.spec import Column, ColumnType, TensorSpec

Answers = Mapping[str, NDArray[Any]]
Facts = Mapping[str, NDArray[Any]]
"""What is kept of each test row for `pooled` and for figures, by name."""
Pooled = Callable[[NDArray[np.float64]], dict[str, float]]
FLOOR = 1e-7
"""Probabilities are clipped here before the logarithm, so that one sure mistake costs 16 nats and not infinity."""
Figure = dict[str, Any]
"""One picture of the report as plain data: `kind` (reports/figures.py), and what that kind shows."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A fitted target: its feature, the state of that, the type of its column, and of several targets each by name."""

    feature: Any
    state: dict[str, Any]
    type: ColumnType
    parts: "Mapping[str, Target]" = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """The classes in the order of their indices; none of a target that is a number."""
        return list(self.state.get("classes", ()))

    @property
    def whole(self) -> bool:
        """Whether the classes are whole numbers."""
        return self.type == "int64"


def target_of(feature: Any, state: dict[str, Any], columns: Sequence[Column]) -> Target:
    """The fitted target among the cleaned columns; one that reads none is as if it were text."""
    types = [one.type for one in columns if one.name in feature.columns[:1]]
    within = zip(getattr(feature, "parts", ()), state.get("parts", ()), strict=True)
    parts = {one.name: target_of(one, known, columns) for one, known in within}
    return Target(feature=feature, state=state, type=types[0] if types else "string", parts=parts)


@dataclass(frozen=True, kw_only=True)
class Told:
    """One row's answer for a person: what is true, what was predicted, and how bad that is."""

    truth: str
    predicted: str
    note: str


class Objective(Protocol):
    """A config that says what is learnt.

    `targets` are the kinds of target that it takes; where only some models can do it, `models` has their kinds.
    `monitored` says of what `scores` gives (and may choose the epoch) whether more is better; the loss always can.
    `metrics` are those that a test part can have, `lower_is_better` those of them where less is better.
    `baseline_name` says what the baseline is.
    """

    targets: ClassVar[tuple[str, ...]]
    monitored: ClassVar[Mapping[str, bool]]
    metrics: ClassVar[tuple[str, ...]]
    lower_is_better: ClassVar[frozenset[str]]
    baseline_name: ClassVar[str]

    def outputs(self, targets: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """What the model has to give."""

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """The loss of a batch, a scalar: the mean of the rows' losses, times ROW_WEIGHT if given.

        `targets` also has the inputs, by their names, as they were before augmentation.
        """

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """Sums over the batch, times ROW_WEIGHT if given; divided by the rows they are an epoch's metrics."""

    def decode(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], target: Target) -> Answers:
        """Answers, on the CPU."""

    def columns(self, target: Target) -> dict[str, pa.DataType]:
        """The columns of `table` and their types."""

    def table(self, answers: Answers, target: Target) -> pa.Table:
        """What a user reads."""

    def row_metrics(self, answers: Answers, truth: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """Metrics that are means over rows: per row."""

    def facts(self, answers: Answers, truth: NDArray[Any]) -> Facts:
        """What `pooled` and `figures` need of each row: a few numbers."""

    def pooled(self, facts: Facts) -> Pooled:
        """The metrics that are no means, as a function of the rows' weights, float64[rows]."""

    def constant(self, target: Target, facts: Facts) -> Answers:
        """What the baseline answers for the rows of `facts`; it knows the training targets and no feature."""

    def badness(self, answers: Answers, truth: NDArray[Any]) -> NDArray[np.float64]:
        """How bad each row's answer is, to show the worst; negative where it is right."""

    def told(self, answers: Answers, truth: NDArray[Any], row: int, target: Target) -> Told:
        """One row's answer in words."""

    def figures(self, facts: Facts, target: Target) -> list[Figure]:
        """The report's pictures."""


class OfVectors:
    """The part of an objective whose answers are `vectors`, float32[rows, width]."""

    def columns(self, target: Target) -> dict[str, pa.DataType]:
        """`prediction`, the vector."""
        return {"prediction": pa.list_(pa.float64())}

    def table(self, answers: Answers, target: Target) -> pa.Table:
        """The vectors."""
        vectors = list(answers["vectors"].astype(np.float64))
        return pa.table({"prediction": pa.array(vectors, self.columns(target)["prediction"])})


def output_of(targets: Sequence[TensorSpec], wanted: str, *, classes: bool) -> TensorSpec:
    """The one target, if it is (or is not) one of classes.

    Raises:
        ConfigError: E_CONFIG.
    """
    if len(targets) == 1 and bool(targets[0].classes) == classes:
        return targets[0]
    raise ConfigError(
        "E_CONFIG",
        "the objective does not fit the target",
        place="objective.kind",
        value=", ".join(f"{spec.name}: {'classes' if spec.classes else 'numbers'}" for spec in targets),
        allowed=wanted,
        action="change the target or the objective",
    )


def given_input(inputs: Sequence[TensorSpec], feature: str) -> TensorSpec:
    """The one input of numbers that is called `feature`, or where that is empty the only one.

    Raises:
        ConfigError: E_CONFIG.
    """
    fit = [one for one in inputs if not one.classes and -1 not in one.shape]
    found = [one for one in fit if feature in {"", one.name}]
    if len(found) == 1:
        return TensorSpec(name=found[0].name, shape=found[0].shape, dtype="float32")
    raise ConfigError(
        "E_CONFIG",
        "the objective is for one input of numbers",
        place="objective.feature",
        value=feature or ", ".join(one.name for one in inputs),
        allowed=", ".join(one.name for one in fit) or "a feature of numbers",
        action="name it",
    )


def check_target(objective: Any, target: Any) -> None:
    """Raise E_CONFIG where the objective takes no target of this kind; of custom kinds only building them tells."""
    if "custom" not in {objective.kind, target.kind} and target.kind not in objective.targets:
        raise ConfigError(
            "E_CONFIG",
            f"{objective.kind} takes no such target",
            place="target.kind",
            value=target.kind,
            allowed=", ".join(objective.targets),
            action="change the target or the objective",
        )
    if hasattr(objective, "check"):
        objective.check(target)


def check_model(objective: Any, model: Any) -> None:
    """Raise E_CONFIG where the objective needs a model of another kind, or the model (`serves`) other objectives."""
    if "custom" in {objective.kind, model.kind}:
        return
    needed, served = getattr(objective, "models", ()), getattr(model, "serves", ())
    for place, kinds, own, what in (
        ("model.kind", needed, model.kind, f"no model of this kind learns {objective.kind}"),
        ("objective.kind", served, objective.kind, f"a model of kind {model.kind} is for other objectives"),
    ):
        if kinds and own not in kinds:
            raise ConfigError(
                "E_CONFIG",
                what,
                place=place,
                value=own,
                allowed=", ".join(kinds),
                action="change the model or the objective",
            )
    if hasattr(model, "check"):
        model.check(objective)


def check_monitor(objective: Any, monitor: str) -> None:
    """Raise E_CONFIG where the objective has no such metric of an epoch."""
    if monitor != "loss" and monitor not in objective.monitored:
        raise ConfigError(
            "E_CONFIG",
            f"{objective.kind} has no such metric of an epoch",
            place="train.monitor",
            value=monitor,
            allowed=", ".join(["loss", *objective.monitored]),
            action="name one of these",
        )


def check_metrics(objective: Any, named: Mapping[str, Iterable[str]]) -> None:
    """Raise E_CONFIG where a metric that some place of a recipe names is none of the objective's."""
    known = getattr(objective, "metrics", ())
    wrong = [(place, one) for place, names in named.items() for one in names if known and one not in known]
    for place, one in wrong[:1]:
        raise ConfigError(
            "E_CONFIG",
            f"{objective.kind} measures no such thing{nearest(one, known)}",
            place=place,
            value=one,
            allowed=", ".join(known),
            action="name one of these, or take what is inherited away with `null`",
        )

"""Several objectives of one model: a head for each target, and their losses added."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, Field, SerializeAsAny

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.registry import Kinds
from components.contracts.spec import TensorSpec
from components.objectives import KINDS
from components.objectives.objective import Answers, Facts, Figure, Pooled, Target, Told, check_target

FIT = ("classification", "multi-label", "regression", "metric-learning", "custom")
"""Objectives that ask no more of a model than outputs for their target."""
AT = "/"
"""Between a target's name and that of what is said of it."""


class Several(StepConfig):
    """One objective for each of several targets; what they say is told apart by the target's name before it."""

    targets: ClassVar[tuple[str, ...]] = ("several",)
    baseline_name: ClassVar[str] = "each target's own"

    kind: Literal["several"] = "several"
    parts: dict[str, Annotated[SerializeAsAny[BaseModel], Kinds("objectives", KINDS)]] = Field(
        min_length=2, description="for each target, by its name, what is learnt of it"
    )
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="what a target's loss counts; 1 where nothing is said"
    )

    @property
    def monitored(self) -> Mapping[str, bool]:
        """Those of the parts."""
        return {f"{name}_{one}": more for name, part in self._parts() for one, more in part.monitored.items()}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of the parts; none where one of a user's own says nothing of its."""
        if not all(getattr(part, "metrics", ()) for _, part in self._parts()):
            return ()
        return tuple(f"{name}_{one}" for name, part in self._parts() for one in part.metrics)

    @property
    def lower_is_better(self) -> frozenset[str]:
        """Those of the parts."""
        return frozenset(f"{name}_{one}" for name, part in self._parts() for one in part.lower_is_better)

    @property
    def relative(self) -> bool:
        """Whether a part is."""
        return any(getattr(part, "relative", False) for _, part in self._parts())

    @property
    def mixed(self) -> bool:
        """Whether a part is."""
        return any(getattr(part, "mixed", False) for _, part in self._parts())

    def check(self, target: Any) -> None:
        """Raise E_CONFIG where targets and objectives are not the same ones, or do not fit each other."""
        names = [one.name for one in getattr(target, "parts", ())]
        said = [*names, *self.parts, *self.weights]
        wrong = next((name for name in said if name not in names or name not in self.parts), None)
        if wrong is not None:
            raise ConfigError(
                "E_CONFIG",
                "every target needs an objective, and every objective a target",
                place="objective.parts",
                value=wrong,
                allowed=", ".join(names),
                action="name each target once",
            )
        double = next((name for name in names if any(name.startswith(f"{one}_") for one in names)), None)
        if double is not None:
            raise ConfigError(
                "E_CONFIG",
                "a target's name begins with another's, so what is said of them would not be told apart",
                place="target.parts",
                value=double,
                action="name it otherwise",
            )
        for one in getattr(target, "parts", ()):
            part: Any = self.parts[one.name]
            if part.kind not in FIT:
                raise ConfigError(
                    "E_CONFIG",
                    "this is learnt alone",
                    place=f"objective.parts.{one.name}.kind",
                    value=part.kind,
                    allowed=", ".join(FIT),
                    action="change it",
                )
            check_target(part, one)

    def outputs(self, targets: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """A head for each target."""
        specs = {one.name: one for one in targets}
        return tuple(spec for name, part in self._parts() for spec in part.outputs([specs[name]], inputs))

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """The sum of the parts' losses, each times its weight."""
        return sum(
            self.weights.get(name, 1.0) * part.loss({name: outputs[name]}, targets) for name, part in self._parts()
        )

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the parts."""
        return {
            f"{name}_{one}": total
            for name, part in self._parts()
            for one, total in part.scores({name: outputs[name]}, targets).items()
        }

    def decode(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], target: Target) -> Answers:
        """Those of the parts, by `target/answer`."""
        return _joined({
            name: part.decode({name: outputs[name]}, inputs, target.parts[name]) for name, part in self._parts()
        })

    def columns(self, target: Target) -> dict[str, pa.DataType]:
        """Of each target its prediction, under its name, and what else its objective says, as `target_confidence`."""
        return {
            _column(name, one): kind
            for name, part in self._parts()
            for one, kind in part.columns(target.parts[name]).items()
        }

    def table(self, answers: Answers, target: Target) -> pa.Table:
        """All predictions side by side."""
        tables = [(name, part.table(_own(answers, name), target.parts[name])) for name, part in self._parts()]
        return pa.table({_column(name, one): table[one] for name, table in tables for one in table.column_names})

    def row_metrics(self, answers: Answers, truth: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """Those of the parts, as `target_accuracy`."""
        return {
            f"{name}_{one}": rows
            for name, part in self._parts()
            for one, rows in part.row_metrics(_own(answers, name), truth[name]).items()
        }

    def facts(self, answers: Answers, truth: NDArray[Any]) -> Facts:
        """Those of the parts."""
        return _joined({name: part.facts(_own(answers, name), truth[name]) for name, part in self._parts()})

    def pooled(self, facts: Facts) -> Pooled:
        """Those of the parts."""
        parts = [(name, part.pooled(_own(facts, name))) for name, part in self._parts()]

        def measured(weights: NDArray[np.float64]) -> dict[str, float]:
            return {f"{name}_{one}": value for name, pooled in parts for one, value in pooled(weights).items()}

        return measured

    def constant(self, target: Target, facts: Facts) -> Answers:
        """What each part's baseline answers."""
        return _joined({name: part.constant(target.parts[name], _own(facts, name)) for name, part in self._parts()})

    def badness(self, answers: Answers, truth: NDArray[Any]) -> NDArray[np.float64]:
        """That of the first target: those of others are in other units."""
        name, part = self._parts()[0]
        found: NDArray[np.float64] = part.badness(_own(answers, name), truth[name])
        return found

    def told(self, answers: Answers, truth: NDArray[Any], row: int, target: Target) -> Told:
        """What each part says."""
        said = [
            (name, part.told(_own(answers, name), truth[name], row, target.parts[name])) for name, part in self._parts()
        ]
        return Told(
            truth="; ".join(f"{name} {one.truth}" for name, one in said),
            predicted="; ".join(f"{name} {one.predicted}" for name, one in said),
            note="; ".join(f"{name} {one.note}" for name, one in said),
        )

    def figures(self, facts: Facts, target: Target) -> list[Figure]:
        """Those of the parts, with the target's name."""
        return [
            figure | {"of": name}
            for name, part in self._parts()
            for figure in part.figures(_own(facts, name), target.parts[name])
        ]

    def _parts(self) -> list[tuple[str, Any]]:
        return list(self.parts.items())


def _joined(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{name}{AT}{one}": value for name, part in parts.items() for one, value in part.items()}


def _own(whole: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What is said of one target."""
    return {one.partition(AT)[2]: value for one, value in whole.items() if one.partition(AT)[0] == name}


def _column(name: str, said: str) -> str:
    return name if said == "prediction" else f"{name}_{said}"

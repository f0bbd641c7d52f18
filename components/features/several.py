"""Several targets of one model: each stored, fitted and learnt as if it stood alone."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, Field, SerializeAsAny, model_validator

from components.contracts.artifacts import FittedFeature
from components.contracts.config import StepConfig
from components.contracts.registry import Kinds
from components.features import KINDS
from components.features.feature import OfNumbers, Prepared, State


class Several(OfNumbers, StepConfig):
    """Targets side by side, told apart by their names. The shards hold its parts, not itself."""

    kind: Literal["several"] = "several"
    name: Literal["several"] = Field("several", description="what stands for them together")
    parts: tuple[Annotated[SerializeAsAny[BaseModel], Kinds("features", KINDS)], ...] = Field(
        min_length=2, description="the targets, such as kinds label, labels and value"
    )

    @model_validator(mode="after")
    def _no_deeper(self) -> Self:
        if any(hasattr(one, "parts") for one in self.parts):
            raise ValueError("several targets in several targets: name them all in one list")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of all parts, each once; the first is the first part's."""
        return tuple(dict.fromkeys(name for one in self.parts for name in one.columns))  # type: ignore[attr-defined]

    def prepare(self, table: pa.Table) -> Prepared:
        """What each part stores, as a tuple."""
        return Prepared(values=tuple(one.prepare(table) for one in self.parts))  # type: ignore[attr-defined]

    def truth(self, prepared: Prepared, state: State) -> NDArray[np.void]:
        """The rows' own targets: a structured array with a field for each part, by its name."""
        found = {
            one.name: one.truth(values, fitted)  # type: ignore[attr-defined]
            for one, values, fitted in zip(self.parts, prepared.values, state["parts"], strict=True)
        }
        kinds = [(name, truth.dtype, truth.shape[1:]) for name, truth in found.items()]
        rows = np.empty(len(next(iter(found.values()))), kinds)
        for name, truth in found.items():
            rows[name] = truth
        return rows


def together(target: Any, learnt: Sequence[FittedFeature]) -> FittedFeature:
    """The fitted parts of a target as one."""
    if not isinstance(target, Several):
        return learnt[0]
    state = {"parts": [one.state for one in learnt]}
    return FittedFeature(config=target.model_dump(mode="json"), state=state)


def parts_of(target: Any) -> tuple[Any, ...]:
    """The targets that are stored: of several each, otherwise the one."""
    return tuple(target.parts) if isinstance(target, Several) else (target,)


def parts_of_fitted(target: FittedFeature) -> tuple[FittedFeature, ...]:
    """The fitted targets that shards hold: of several each, otherwise the one."""
    if target.config["kind"] != "several":
        return (target,)
    pairs = zip(target.config["parts"], target.state["parts"], strict=True)
    return tuple(FittedFeature(config=config, state=state) for config, state in pairs)

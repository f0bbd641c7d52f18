"""What a search varies: the recipe's `search` section, as data. No step reads it; flows/tuning.py does."""

import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from components.contracts.config import Frozen

TINY = 1e-9


class Range(Frozen):
    """Numbers from `low` to `high`, whole ones where both are whole."""

    low: int | float = Field(description="the least that is drawn")
    high: int | float = Field(description="the most that is drawn")
    log: bool = Field(False, description="drawn evenly among powers, as for rates")
    step: int | float | None = Field(None, gt=0, description="between neighbouring values; not with log")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0 and no step")
        return self

    @property
    def whole(self) -> bool:
        """Whether values are whole numbers."""
        return all(isinstance(one, int) for one in (self.low, self.high, self.step or 1))

    @property
    def edges(self) -> tuple[Any, ...]:
        """Values to check a recipe with."""
        return (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether a value could be drawn."""
        kinds = int if self.whole else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or not self.low <= value <= self.high:
            return False
        return self.step is None or abs((value - self.low) / self.step % 1) < TINY


def shown(value: Any) -> str:
    """A value for a person: four digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Choices(Frozen):
    """One of some values, of any kind that a recipe can hold."""

    choices: tuple[Any, ...] = Field(min_length=2, description="the values, as they would stand in the recipe")

    @property
    def edges(self) -> tuple[Any, ...]:
        """Values to check a recipe with."""
        return self.choices

    def holds(self, value: Any) -> bool:
        """Whether a value could be drawn."""
        return value in self.choices or tuple(value if isinstance(value, list) else ()) in self.choices


class SearchConfig(Frozen):
    """Which keys of the recipe are varied, over what, and how often."""

    space: dict[str, Range | Choices] = Field(
        {}, description="dotted keys, such as train.learning_rate, to {low, high, log, step} or {choices: [...]}"
    )
    trials: int = Field(20, ge=1, le=10_000, description="how many, over all runs of the same search")
    sampler: Literal["tpe", "random"] = Field(
        "tpe", description="tpe: near what was good so far (Bergstra et al. 2011); random: anywhere"
    )
    prune: bool = Field(
        True, description="end a trial early whose epoch is worse than the median of earlier trials at that epoch"
    )
    seed: int = Field(0, ge=0, description="of what is drawn")
    parallel: int = Field(1, ge=1, le=1000, description="trials at a time, on Dask workers where there are some")

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Values of the space's keys as changes of the recipe."""
        return [f"{key}={json.dumps(value)}" for key, value in values.items()]

"""Count, mean and spread of columns, joined in any order (Chan, Golub, LeVeque 1979)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
ROUNDING = 1e-12


@dataclass(frozen=True)
class Moments:
    """Of each column: how many values, their mean, and the sum of squares around it."""

    count: Values
    mean: Values
    squares: Values

    @classmethod
    def of(cls, values: Values) -> "Moments":
        """Of values float64[rows, columns]; NaN is left out."""
        present = ~np.isnan(values)
        count = present.sum(0).astype(np.float64)
        mean = np.where(present, values, 0).sum(0) / np.maximum(count, 1)
        return cls(count, mean, (np.where(present, values - mean, 0) ** 2).sum(0))

    def joined(self, other: "Moments") -> "Moments":
        """Of two disjoint sets of rows together."""
        total = np.maximum(self.count + other.count, 1)
        delta = other.mean - self.mean
        squares = self.squares + other.squares + delta**2 * self.count * other.count / total
        return Moments(self.count + other.count, self.mean + delta * other.count / total, squares)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Moments":
        """What `state` was made of."""
        return cls(*(np.array(state[name], np.float64) for name in ("count", "mean", "squares")))

    @property
    def state(self) -> dict[str, list[float]]:
        """The same as JSON."""
        return {"count": self.count.tolist(), "mean": self.mean.tolist(), "squares": self.squares.tolist()}

    @property
    def scale(self) -> Values:
        """What to divide by: the standard deviation, and one where there is none."""
        return np.where(self.deviation > 0, self.deviation, 1.0)

    @property
    def deviation(self) -> Values:
        """The standard deviation; none where it is no more than what rounding makes of values that are equal."""
        found = np.sqrt(self.squares / np.maximum(self.count, 1))
        return np.where(found > ROUNDING * np.abs(self.mean), found, 0.0)

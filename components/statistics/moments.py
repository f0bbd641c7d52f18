"""Count, mean and spread of columns, joined in any order (Chan, Golub, LeVeque 1979)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


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

    @property
    def deviation(self) -> Values:
        """The standard deviation."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))

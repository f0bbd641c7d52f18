"""The least and the greatest values of columns, joined in any order: they say how many lie beyond a bound."""

import numpy as np
from numpy.typing import NDArray

MOST = 2048
"""Values that are kept at each end of a column."""
Tails = list[NDArray[np.float32]]
"""Per column the least values, rising, then per column the greatest, rising."""


def tails_of(values: NDArray[np.float32]) -> Tails:
    """Of values float32[rows, columns]; NaN is left out."""
    columns = [column[~np.isnan(column)] for column in values.T]
    return [_least(column) for column in columns] + [_greatest(column) for column in columns]


def joined_tails(first: Tails, second: Tails) -> Tails:
    """Those of two disjoint sets of rows together."""
    both = [np.concatenate(pair) for pair in zip(first, second, strict=True)]
    columns = len(both) // 2
    return [_least(one) for one in both[:columns]] + [_greatest(one) for one in both[columns:]]


def _least(column: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sort(column if len(column) <= MOST else np.partition(column, MOST)[:MOST])


def _greatest(column: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sort(column if len(column) <= MOST else np.partition(column, len(column) - MOST)[-MOST:])

"""How well scores put rows in order, and how alike two groupings of rows are."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def area(score: NDArray[np.float32], positive: NDArray[np.bool_]) -> Callable[[NDArray[np.float64]], float]:
    """The area under the ROC curve as a function of the rows' weights (ties count half); 0.5 where a class lacks.

    It is the share of pairs of a positive and a negative row in which the positive one has the higher score.
    """
    _, place = np.unique(score, return_inverse=True)
    levels = int(place.max(initial=-1)) + 1

    def measured(weights: NDArray[np.float64]) -> float:
        for_level = np.bincount(place, weights * positive, levels)
        against = np.bincount(place, weights * ~positive, levels)
        pairs = for_level.sum() * against.sum()
        below = np.cumsum(against) - against / 2
        return float((for_level * below).sum() / pairs) if pairs else 0.5

    return measured


def shared_information(first: NDArray[np.int64], second: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    """Normalised mutual information of two groupings, 0 to 1: the mutual one over the mean of their entropies."""
    table = np.zeros((int(first.max(initial=0)) + 1, int(second.max(initial=0)) + 1))
    np.add.at(table, (first, second), weights)
    shares = table / table.sum()
    of_first, of_second = shares.sum(1), shares.sum(0)
    there = shares > 0
    shared = (shares[there] * np.log(shares[there] / np.outer(of_first, of_second)[there])).sum()
    mean = (_entropy(of_first) + _entropy(of_second)) / 2
    return float(shared / mean) if mean > 0 else 1.0


def _entropy(shares: NDArray[np.float64]) -> float:
    there = shares[shares > 0]
    return float(-(there * np.log(there)).sum())

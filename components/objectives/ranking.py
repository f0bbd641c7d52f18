"""How well scores put rows in order."""

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

"""A mergeable summary of a column of numbers: about `POINTS` means with weights, from which quantiles are read.

Values are kept as they are up to POINTS of them; beyond that neighbours are joined so that each point stands for about
the same number of rows. A quantile is then off by about 1/POINTS of the rows, whatever the order of merging.
"""

import numpy as np
from numpy.typing import NDArray

POINTS = 1024
Summary = NDArray[np.float64]
"""float64[2, points]: means in rising order, and how many rows each stands for."""


def summary(values: NDArray[np.float64]) -> Summary:
    """The summary of these values; NaN is left out."""
    known = np.sort(values[~np.isnan(values)])
    return _compressed(known, np.ones(len(known)))


def joined(first: Summary, second: Summary) -> Summary:
    """Two summaries as one."""
    means, weights = np.concatenate([first, second], axis=1)
    order = np.argsort(means, kind="stable")
    return _compressed(means[order], weights[order])


def quantile(found: Summary, share: float) -> float:
    """The value below which `share` of the rows are, between points in a straight line; NaN where there are none."""
    means, weights = found
    if not len(means):
        return float("nan")
    middles = (np.cumsum(weights) - weights / 2 - 0.5) / max(weights.sum() - 1, 1)
    return float(np.interp(share, middles, means))


def _compressed(means: NDArray[np.float64], weights: NDArray[np.float64]) -> Summary:
    if len(means) > POINTS:
        ends = np.cumsum(weights)
        bins = np.minimum(((ends - weights / 2) / ends[-1] * POINTS).astype(int), POINTS - 1)
        mass = np.asarray(np.bincount(bins, weights, POINTS), np.float64)
        sums = np.bincount(bins, weights * means, POINTS)
        # The extremes stay what they are.
        low, high = means[0], means[-1]
        used = mass > 0
        starts = np.flatnonzero(np.diff(bins, prepend=-1))
        stops = np.append(starts[1:], len(bins)) - 1
        # A mean may lie a rounding beyond what it is the mean of.
        means = np.clip(sums[used] / mass[used], means[starts], means[stops])
        weights = mass[used]
        means[0], means[-1] = low, high
    return np.stack([means, weights])

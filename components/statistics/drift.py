"""How far two samples of one column lie apart: one figure between 0 and about 1 for every kind of column.

The population stability index sums (p - q) ln(p / q) over bins, missing cells being one; below 0.1 it is usually read
as no change, from 0.25 on as a large one (Siddiqi 2006). Two samples of the same rows do not give 0 but on average
(bins - 1) (1/n + 1/m), which is taken off.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10
CATEGORIES = 20


def number_drift(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Of numbers, NaN where missing: bins are the tenths of `before`."""
    known = before[~np.isnan(before)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.empty(0)
    return index(_counts(before, edges), _counts(now, edges))


def _counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows in each bin, a value that is an edge in the one above, missing ones last."""
    missing = np.isnan(values)
    places = np.searchsorted(edges, values[~missing], side="right")
    return np.append(np.bincount(places, minlength=len(edges) + 1), missing.sum()).astype(np.float64)


def text_drift(before: Sequence[Any], now: Sequence[Any]) -> float:
    """Of categories: the most frequent ones of both, all others as one, missing ones as one."""
    first, second = Counter(before), Counter(now)
    common = [value for value, _ in (first + second).most_common() if value is not None][:CATEGORIES]

    def counts(found: Counter[Any]) -> NDArray[np.float64]:
        known = [found[value] for value in common]
        missing = found[None]
        return np.array([*known, sum(found.values()) - sum(known) - missing, missing], np.float64)

    return index(counts(first), counts(second))


def index(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Of categories that were counted in both samples."""
    used = (before + now) > 0
    before, now = before[used], now[used]
    if not before.sum() or not now.sum() or len(before) < 2:
        return 0.0
    # Half a row more in each bin, so that an empty one has a logarithm.
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (before, now))
    expected = (len(before) - 1) * (1 / before.sum() + 1 / now.sum())
    return max(0.0, float(((p - q) * np.log(p / q)).sum() - expected))

"""How sure a figure of rows is: percentile bootstrap (Efron 1979), 95 %."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from components.contracts.findings import Interval

REPLICATES = 1000
EXACT_UP_TO = 20_000
"""Above this many rows the bootstrap of a mean agrees with the normal interval to three digits and costs much more."""
NORMAL_95 = 1.959964
WHOLE_REPLICATES = 200
"""Of a figure that is no mean, which costs a pass over all rows each time."""


def interval(values: NDArray[np.float64], seed: int = 0, replicates: int = REPLICATES) -> Interval:
    """The mean of float64[rows] with its interval."""
    mean, rows = float(values.mean()), len(values)
    if rows > EXACT_UP_TO:
        half = NORMAL_95 * float(values.std()) / rows**0.5
        return Interval(value=mean, low=mean - half, high=mean + half)
    random = np.random.Generator(np.random.PCG64(seed))
    means = [float(values[random.integers(0, rows, rows)].mean()) for _ in range(replicates)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(value=mean, low=float(low), high=float(high))


def intervals(
    measured: Callable[[NDArray[np.float64]], dict[str, float]], rows: int, seed: int = 0
) -> dict[str, Interval]:
    """Figures of all rows with their intervals; `measured` takes how often each row counts, float64[rows]."""
    figures = measured(np.ones(rows))
    if not figures:
        return {}
    random = np.random.Generator(np.random.PCG64(seed))
    draws = (np.bincount(random.integers(0, rows, rows), minlength=rows) for _ in range(WHOLE_REPLICATES))
    drawn = [measured(one.astype(np.float64)) for one in draws]
    bounds = {name: np.percentile([one[name] for one in drawn], [2.5, 97.5]) for name in figures}
    return {
        name: Interval(value=value, low=float(bounds[name][0]), high=float(bounds[name][1]))
        for name, value in figures.items()
    }

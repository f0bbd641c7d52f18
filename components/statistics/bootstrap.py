"""How sure a mean over rows is: percentile bootstrap (Efron 1979), 95 %."""

import numpy as np
from numpy.typing import NDArray

from components.contracts.artifacts import Interval

REPLICATES = 1000
EXACT_UP_TO = 20_000
"""Above this many rows the bootstrap of a mean agrees with the normal interval to three digits and costs much more."""
NORMAL_95 = 1.959964


def interval(values: NDArray[np.float64], seed: int = 0) -> Interval:
    """The mean of float64[rows] with its interval."""
    mean, rows = float(values.mean()), len(values)
    if rows > EXACT_UP_TO:
        half = NORMAL_95 * float(values.std()) / rows**0.5
        return Interval(value=mean, low=mean - half, high=mean + half)
    random = np.random.Generator(np.random.PCG64(seed))
    means = [float(values[random.integers(0, rows, rows)].mean()) for _ in range(REPLICATES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(value=mean, low=float(low), high=float(high))

"""How sure a figure of rows is: percentile bootstrap (Efron 1979), 95 %."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from components.contracts.findings import Interval

REPLICATES = 1000
EXACT_UP_TO = 20_000
"""Above this many rows the bootstrap of a mean agrees with the normal interval to three digits and costs much more."""
NORMAL_95 = 1.959964
WHOLE_REPLICATES = 200
"""Of a figure that is no mean, which costs a pass over its rows each time."""
NARROW = 1 << 16
BAGS, BAG_ROWS, BAG_LEAST = 4, 5_000, 10
"""Of more than EXACT_UP_TO rows: how many bags, how many rows in one, and how many of those that are alike at least."""

Measured = Callable[[NDArray[np.float64]], dict[str, float]]
"""Figures by how often each row counts, float64[rows]."""
Of = Callable[[NDArray[np.int64]], Measured]
"""How rows are measured, by which these are."""


def interval(values: NDArray[np.float64], seed: int = 0, replicates: int = REPLICATES) -> Interval:
    """The mean of float64[rows] with its interval."""
    return means(values[:, None], seed, replicates)[0]


def means(values: NDArray[np.float64], seed: int = 0, replicates: int = REPLICATES) -> list[Interval]:
    """The mean of each column of float64[rows, columns] with its interval; the same rows are drawn for all of them."""
    found, rows = values.mean(axis=0), len(values)
    if rows > EXACT_UP_TO:
        half = NORMAL_95 * values.std(axis=0) / rows**0.5
        low, high = found - half, found + half
    else:
        random = np.random.Generator(np.random.PCG64(seed))
        counts = (np.bincount(random.integers(0, rows, rows), minlength=rows) for _ in range(replicates))
        low, high = np.percentile([one @ values / rows for one in counts], [2.5, 97.5], axis=0)
    ends = zip(found.tolist(), low.tolist(), high.tolist(), strict=True)
    return [Interval(value=value, low=least, high=most) for value, least, most in ends]


def intervals(
    of: Of, rows: int, facts: Sequence[NDArray[np.generic]] | None = None, seed: int = 0
) -> dict[str, Interval]:
    """Figures of all rows with their intervals; `of` takes which rows are measured, and says how.

    Rows with the same whole numbers in `facts` are alike. Of many rows each figure is then drawn from a few bags of
    them (bag of little bootstraps, Kleiner et al. 2014), so that the cost does not grow with the rows: each kind has in
    a bag the weight that it has among all, and rare ones all their rows. Without `facts`, where a few rows may decide
    the figures, draws are of all rows.
    """
    whole = of(np.arange(rows))
    figures = whole(np.ones(rows))
    if not figures:
        return {}
    random = np.random.Generator(np.random.PCG64(seed))
    kinds = alike(facts, rows) if facts is not None and rows > EXACT_UP_TO else None
    bags = _bags(kinds, random) if kinds is not None else []
    away: dict[str, list[float]] = {name: [] for name in figures}
    for drawn, centre in _drawn(of, bags, rows, random) if bags else _redrawn(whole, figures, rows, random):
        for name, value in drawn.items():
            away[name].append(value - centre[name])
    bounds = {name: np.percentile(values, [2.5, 97.5]) for name, values in away.items()}
    return {
        name: Interval(value=value, low=value + float(bounds[name][0]), high=value + float(bounds[name][1]))
        for name, value in figures.items()
    }


def alike(facts: Sequence[NDArray[np.generic]], rows: int) -> NDArray[np.int64] | None:
    """A number for each row, the same for rows with the same whole numbers in `facts`, [rows] or [rows, width].

    None where these are so many that bags of them would not be small.
    """
    kinds = np.zeros(rows, np.int64)
    for one in facts:
        for column in one.reshape(rows, -1).T if one.dtype.kind in "iub" and rows else ():
            codes = _numbered(column.astype(np.int64))
            kinds = _numbered(kinds * (int(codes.max()) + 1) + codes)
            if int(kinds.max()) >= rows // BAGS:
                return None
    return kinds


def _numbered(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each value among those that there are."""
    low, high = int(values.min()), int(values.max())
    if high - low >= NARROW:
        return np.unique(values, return_inverse=True)[1]
    there = np.bincount(values - low) > 0
    return (np.cumsum(there) - 1)[values - low]


Draw = tuple[dict[str, float], dict[str, float]]
"""Figures of a draw, and what they scatter around."""
Bag = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Some rows, and for how many of all each stands; together these are all."""


def _redrawn(measured: Measured, figures: dict[str, float], rows: int, random: np.random.Generator) -> Iterator[Draw]:
    for _ in range(WHOLE_REPLICATES):
        drawn = np.bincount(random.integers(0, rows, rows), minlength=rows)
        yield measured(drawn.astype(np.float64)), figures


def _drawn(of: Of, bags: list[Bag], rows: int, random: np.random.Generator) -> Iterator[Draw]:
    """As many rows as there are, from each bag in turn."""
    for bag, each in bags:
        measured = of(bag)
        # Whole numbers: figures tell apart whether all rows have something or nearly all.
        centre = measured(each.astype(np.float64))
        for _ in range(WHOLE_REPLICATES // BAGS):
            yield measured(random.multinomial(rows, each / rows).astype(np.float64)), centre


def _bags(kinds: NDArray[np.int64], random: np.random.Generator) -> list[Bag]:
    """None where there are so many kinds that bags would not be small."""
    rows, counts = len(kinds), np.bincount(kinds)
    taken = np.minimum(np.maximum(counts * BAG_ROWS // rows, BAG_LEAST), counts)
    if taken.sum() > rows // BAGS:
        return []
    order = np.argsort(kinds.astype(np.uint16) if len(counts) < NARROW else kinds, kind="stable")
    of_kind = np.split(order, np.cumsum(counts)[:-1])
    least, more = np.divmod(counts, taken)
    place = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
    each = np.repeat(least, taken) + (place < np.repeat(more, taken))
    drawn = [
        np.concatenate([
            one if len(one) == most else random.choice(one, most, replace=False, shuffle=False)
            for one, most in zip(of_kind, taken, strict=True)
        ])
        for _ in range(BAGS)
    ]
    return [(bag, each) for bag in drawn]

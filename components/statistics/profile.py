"""What a sample says of one column: figures for a person, not for a model."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.statistics.drift import number_drift, text_drift

BARS = 20
COMMONEST = 6


def numbers(cells: pa.ChunkedArray) -> NDArray[np.float64] | None:
    """The cells as float64 with NaN for missing ones, times as seconds since 1970; None where they are no numbers."""
    kind = cells.type
    if pa.types.is_date(kind):
        cells = cells.cast(pa.timestamp("us"))
    if pa.types.is_temporal(cells.type):
        whole = cells.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64(), safe=False)
        return np.asarray(whole.to_numpy()) / 1e6
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.asarray(cells.cast(pa.float64(), safe=False).to_numpy())
    return None


def profile(name: str, cells: pa.ChunkedArray) -> dict[str, Any]:
    """Missing cells, range, mean, bars of numbers; the commonest of other values."""
    rows = len(cells)
    found: dict[str, Any] = {
        "name": name,
        "missing": cells.null_count / rows if rows else 0.0,
        "distinct": len(cells.unique().drop_null()),
        "common": [],
        "bars": [],
    }
    values = numbers(cells)
    if values is None:
        counts = Counter(cells.drop_null().to_pylist())
        return found | {"common": [[str(value), count / rows] for value, count in counts.most_common(COMMONEST)]}
    known = values[np.isfinite(values)]
    if not len(known):
        return found
    low, middle, high = np.quantile(known, [0.01, 0.5, 0.99])
    places = (np.clip(known, low, high) - low) / ((high - low) or 1) * BARS
    bars = np.bincount(np.minimum(places.astype(int), BARS - 1), minlength=BARS)
    figures = {"min": known.min(), "median": middle, "mean": known.mean(), "max": known.max(), "std": known.std()}
    if pa.types.is_temporal(cells.type):
        found |= {one: str(np.datetime64(int(value), "s")) for one, value in figures.items() if one != "std"}
    else:
        found |= {one: float(value) for one, value in figures.items()}
    return found | {"bars": (bars / bars.max()).round(3).tolist()}


def drift(before: pa.Table, now: pa.Table, columns: Sequence[str]) -> dict[str, float]:
    """How far each column that both have lies apart."""
    found = {}
    for name in columns:
        if name not in before.column_names or name not in now.column_names or before[name].type != now[name].type:
            continue
        first, second = numbers(before[name]), numbers(now[name])
        if first is not None and second is not None:
            found[name] = number_drift(first, second)
        else:
            found[name] = text_drift(before[name].to_pylist(), now[name].to_pylist())
    return {name: round(value, 4) for name, value in found.items()}

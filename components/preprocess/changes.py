"""How many cells of the training rows features fill, clip or flag."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.adapters.shard_files import open_shard
from components.adapters.stores import open_store
from components.context import RunContext
from components.contracts.artifacts import Dataset, Part
from components.contracts.placement import Placement
from components.features.feature import Feature, State
from components.features.shards import shard_name
from components.statistics.keys import TRAIN

Positions = NDArray[np.int64]


def cells_changed(
    fitted: Sequence[tuple[Feature, State]],
    partials: Sequence[State],
    parts: Sequence[Part],
    *,
    out: Sequence[Positions],
    ctx: RunContext,
) -> dict[str, int]:
    """By feature and what it does, of the training rows without those that are left `out` of each part.

    Rows are looked at where the partial states do not say it.
    """
    found, looked = Counter[str](), []
    for (feature, state), partial_state in zip(fitted, partials, strict=True):
        told = None
        if hasattr(feature, "total") and not any(map(len, out)):
            told = feature.total(partial_state, state)
        if told is not None:
            found.update({f"{feature.name} {what}": count for what, count in told.items()})
        elif callable(getattr(feature, "counted", None)):
            looked.append((feature, state))
    if not looked:
        return {name: count for name, count in sorted(found.items()) if count}
    look = partial(_counted, ctx.placement, looked)
    size = sum(part.rows for part in parts) * 100
    for counts in ctx.compute.map(look, list(zip(parts, out, strict=True)), size, native=True):
        found.update(counts)
    return {name: count for name, count in sorted(found.items()) if count}


def _counted(placement: Placement, fitted: Sequence[tuple[Any, State]], item: tuple[Part, Positions]) -> dict[str, int]:
    """Of one part."""
    part, out = item
    store = open_store(placement)
    record = store.part(Dataset.step, part.key).standing()
    shard: dict[str, Any] = open_shard(store.open(record, shard_name(TRAIN)))
    found: dict[str, int] = {}
    for feature, state in fitted:
        values = shard[feature.name]
        left = np.delete(values, out, axis=0) if len(out) else values
        found |= {f"{feature.name} {what}": count for what, count in feature.counted(left, state).items()}
    return found

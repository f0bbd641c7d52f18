"""How many cells of the training rows features fill, clip or flag."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from components.adapters.stores import open_store
from components.context import RunContext
from components.contracts.artifacts import Dataset, Part
from components.contracts.placement import Placement
from components.features.feature import Feature, State
from components.statistics.keys import TRAIN

Fitted = tuple[Feature, State]


def cells_changed(fitted: Sequence[Fitted], parts: Sequence[Part], size_bytes: int, ctx: RunContext) -> dict[str, int]:
    """By feature and what it does; of the rows that it was fitted on."""
    found = Counter[str]()
    for feature, state in fitted:
        if hasattr(feature, "filled") and (count := feature.filled(state)):
            found[f"{feature.name} filled"] = count
    looked = [one for one in fitted if getattr(one[0], "outliers", "keep") != "keep"]
    if looked:
        look = partial(_far_off, ctx.placement, looked)
        for counts in ctx.compute.map(look, list(parts), size_bytes, native=True):
            found.update(counts)
    return dict(sorted(found.items()))


def _far_off(placement: Placement, fitted: Sequence[tuple[Any, State]], part: Part) -> dict[str, int]:
    """Of one part."""
    store = open_store(placement)
    record = store.part(Dataset.step, part.key).standing()
    found = {}
    for feature, state in fitted:
        values = np.load(store.open(record, f"{TRAIN}.{feature.name}.npy"))
        found[f"{feature.name} {'clipped' if feature.outliers == 'clip' else 'flagged'}"] = feature.far_off(
            values, state
        )
    return found

"""Rare classes made to count as much as others, in training only; figures come from the training part."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.adapters.shard_files import open_shard
from components.adapters.store import Record, Store
from components.contracts.errors import ConfigError, DataError
from components.features.feature import Prepared
from components.features.shards import read_fit, shard_name
from components.statistics.keys import TRAIN

Rebalance = Literal["none", "weights", "over", "under"]
"""weights: a row's loss counts by the rarity of its class. over: rows of rare classes come more often in an epoch, up
to the commonest. under: rows of common classes come less often, down to the rarest."""


def classes_left_out(
    target: Any, state: dict[str, Any], records: Sequence[Record], out: Sequence[NDArray[np.int64]], store: Store
) -> dict[int, int]:
    """How many training rows of each class (by its index) were left `out` as outliers."""
    lost: Counter[int] = Counter()
    for record, rows in zip(records, out, strict=True):
        if len(rows) and _counted(state):
            shard: dict[str, Any] = open_shard(store.open(record, shard_name(TRAIN)))
            known = read_fit(store, record)["dictionaries"][target.name]
            truth = target.truth(Prepared(values=shard[target.name][rows], dictionaries=known), state)
            # A row has one class, or a column for each class that it may have.
            lost.update(truth.tolist() if truth.ndim == 1 else np.nonzero(truth)[1].tolist())
    return dict(lost)


def _counted(state: dict[str, Any]) -> list[int]:
    """How many training rows each class had; none of a target without classes."""
    counts: list[int] = state.get("counts") or state.get("with") or []
    return counts


def check_left(state: dict[str, Any], lost: Mapping[int, int]) -> None:
    """Raise E_LABEL where outliers were all training rows that a class had."""
    gone = [state["classes"][at] for at, count in enumerate(_counted(state)) if lost.get(at) == count]
    if gone:
        raise DataError(
            "E_LABEL",
            "every training row of a class was left out as an outlier",
            place="outliers",
            value=gone[0],
            action="raise the factor, or look at other columns",
        )


def balanced(
    how: Rebalance, state: dict[str, Any], lost: Mapping[int, int] = MappingProxyType({})
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """How often an epoch has a row of each class, and what its loss counts (1 on average over the rows).

    Raises:
        ConfigError: E_CONFIG, the target has no classes.
    """
    counted = state.get("counts", [])
    if how == "none":
        return (), ()
    if not counted:
        raise ConfigError(
            "E_CONFIG",
            "only classes can be rebalanced",
            place="rebalance",
            value=how,
            allowed="none",
            action="name a label as target, or leave it out",
        )
    counts = [count - lost.get(at, 0) for at, count in enumerate(counted)]
    if how == "weights":
        return (), tuple(sum(counts) / (len(counts) * count) for count in counts)
    goal = max(counts) if how == "over" else min(counts)
    return tuple(goal / count for count in counts), ()

"""Training rows of groups of people made to count so that a row's group says nothing of its class.

Reweighing (Kamiran, Calders 2012): a row counts P(group) P(class) / P(group, class), from the training part. The codes
of groups lie in the shards beside the features, and no network sees them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.adapters.shard_files import open_shard
from components.adapters.store import Record, Store
from components.contracts.artifacts import FittedFeature
from components.contracts.errors import ConfigError
from components.contracts.spec import GROUPS
from components.features.category import Category
from components.features.feature import Prepared
from components.features.shards import read_fit, shard_name
from components.statistics.keys import TRAIN

MOST_GROUPS = 1000
Weights = tuple[tuple[float, ...], ...]
"""By the group's number (mixed over the columns' codes, the last one fastest) and the class."""


def groups_of(columns: Sequence[str]) -> tuple[Category, ...]:
    """The feature whose codes are the groups; none where no columns are named."""
    return (Category(name=GROUPS, columns=tuple(columns)),) if columns else ()


def reweighed(
    groups: FittedFeature,
    target: Any,
    state: dict[str, Any],
    training: Sequence[tuple[Record, NDArray[np.int64]]],
    store: Store,
) -> Weights:
    """What a training row of each group and class counts; 1 on average.

    `training` has each part's record, and which training rows are left out of it.

    Raises:
        ConfigError: E_CONFIG, there are too many groups.
    """
    classes = len(state["classes"])
    sizes = [len(one) + 1 for one in groups.state["vocabularies"]]
    if np.prod(sizes, dtype=float) > MOST_GROUPS:
        raise ConfigError(
            "E_CONFIG",
            "these columns tell too many groups apart to weigh each",
            place="reweigh",
            value=f"{np.prod(sizes, dtype=float):,.0f} groups",
            allowed=f"columns of {MOST_GROUPS} groups together",
            action="name columns of few values",
        )
    feature = Category.model_validate(groups.config)
    counts = np.zeros((int(np.prod(sizes)), classes))
    for record, gone in training:
        shard: dict[str, Any] = open_shard(store.open(record, shard_name(TRAIN)))
        known = read_fit(store, record)["dictionaries"]
        truth = target.truth(Prepared(values=shard[target.name], dictionaries=known[target.name]), state)
        tables = feature.lookup(groups.state, known[GROUPS])
        codes = np.stack([table[shard[GROUPS][:, at]] for at, table in enumerate(tables)], axis=1)
        kept = np.ones(len(truth), bool)
        kept[gone] = False
        np.add.at(counts, (numbered(codes, sizes)[kept], truth[kept]), 1)
    wanted = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    weights = np.where(counts > 0, wanted / np.where(counts > 0, counts, 1), 1.0)
    return tuple(tuple(row) for row in weights.tolist())


def numbered(codes: NDArray[Any], sizes: Sequence[int]) -> NDArray[np.int64]:
    """One number for the codes of all columns, int64[rows, columns] to int64[rows]."""
    found = np.zeros(len(codes), np.int64)
    for at, size in enumerate(sizes):
        found = found * size + codes[:, at]
    return found

"""Uniform samples that can be put together: of each partition, the rows with the smallest keys.

A row's key is a digest (statistics/keys.py), so that the rows with the smallest keys are drawn as by lot, the same ones
on every machine (bottom-k sketch: Cohen and Kaplan 2007). Below the smallest of the partitions' cuts no row is lacking,
hence what lies below it is a sample of all.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.statistics.keys import Words

MOST = 2048
EVERY = 2**64
"""The cut of a sample that holds all rows."""


def smallest(keys: Words, most: int = MOST) -> tuple[NDArray[np.int64], int]:
    """The positions of the `most` smallest keys, in order, and the cut: all keys below it are among them."""
    if len(keys) <= most:
        return np.arange(len(keys)), EVERY
    chosen = np.argpartition(keys, most)
    cut = int(keys[chosen[most]])
    return np.sort(np.flatnonzero(keys < cut)), cut


def among(keys: Sequence[Words], cuts: Sequence[int], most: int) -> list[NDArray[np.bool_]]:
    """Of each partition's sample, the rows that belong to a sample of at most `most` rows of all."""
    cut = min(cuts, default=EVERY)
    whole = np.sort(np.concatenate([one[_below(one, cut)] for one in keys])) if keys else np.empty(0, np.uint64)
    if len(whole) > most:
        cut = int(whole[most])
    return [_below(one, cut) for one in keys]


def _below(keys: Words, cut: int) -> NDArray[np.bool_]:
    return np.ones(len(keys), bool) if cut == EVERY else keys < np.uint64(cut)

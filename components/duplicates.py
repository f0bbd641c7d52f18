"""Rows that stand twice in a snapshot, over all its partitions: the one question that no partition can answer alone.

Each partition gives two 64-bit digests a row; equal pairs are equal rows (of a thousand million rows two different ones
would meet once in 10²⁰ snapshots). More rows than fit at a time are looked at in shares, by their digest.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.adapters.snapshot_rows import read_rows
from components.adapters.stores import open_store
from components.context import RunContext
from components.contracts.artifacts import Part
from components.contracts.placement import Placement
from components.statistics.keys import Words, later_rows, row_keys

ROWS_AT_A_TIME = 40_000_000

Chosen = Callable[[pa.Table], tuple[pa.Table, NDArray[np.bool_]]]
"""A module-level function, or a partial of one: the columns that are compared, and which rows are."""


def find_later_rows(
    ctx: RunContext, step: str, parts: Sequence[Part], columns: list[str] | None, chosen: Chosen
) -> list[NDArray[np.int64]]:
    """Of each part of `step`, the rows that an earlier row equals in what `chosen` takes of `columns`."""
    rows = sum(part.rows for part in parts)
    shares = -(-rows // ROWS_AT_A_TIME) or 1
    found: list[list[NDArray[np.int64]]] = [[] for _ in parts]
    for share in range(shares):
        work = partial(_keys, ctx.placement, step, columns, chosen=chosen, share=(share, shares))
        keyed = ctx.compute.map(work, [part.key for part in parts], rows * 100, native=True)
        later = later_rows([(first, second) for first, second, _ in keyed])
        for at, (_, _, positions) in enumerate(keyed):
            found[at].append(positions[later[at]])
    return [np.sort(np.concatenate(one)) if one else np.empty(0, np.int64) for one in found]


def _keys(
    placement: Placement, step: str, columns: list[str] | None, key: str, *, chosen: Chosen, share: tuple[int, int]
) -> tuple[Words, Words, NDArray[np.int64]]:
    table, asked = chosen(read_rows(open_store(placement), step, key, columns))
    first = row_keys(table)
    rows = np.flatnonzero(asked & (first % np.uint64(share[1]) == share[0]))
    return first[rows], row_keys(table, seed=1)[rows], rows


def all_rows(table: pa.Table) -> tuple[pa.Table, NDArray[Any]]:
    """Every row is compared."""
    return table, np.ones(table.num_rows, bool)


def complete_rows(table: pa.Table) -> tuple[pa.Table, NDArray[Any]]:
    """Rows in which nothing is missing are compared."""
    whole = np.ones(table.num_rows, bool)
    for column in table.columns:
        whole &= ~np.asarray(column.is_null())
    return table, whole

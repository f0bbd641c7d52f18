"""Shards of prepared arrays, and the loader that hands out whole batches from them.

A shard is one `.npy` file per feature: a fixed-stride array that is mapped into memory and that anyone can read. A
batch is gathered by sorted index, so its rows keep the order of the file; the shuffled order of an epoch is a
permutation drawn from (seed, epoch), the same on every machine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """One feature of one shard: the array's path, and for codes the lookup of each column.

    `rows` are those of the array; `without` is the path of the positions that are left out, rising, where any are.
    """

    path: str
    rows: int
    without: str = ""
    lookup: list[list[int]] = field(default_factory=list)


def write_shard(values: NDArray[Any], path: Path) -> None:
    """Write one feature of one shard."""
    np.save(path, values, allow_pickle=False)


class Column:
    """One feature over all shards of a split, read by row number, as if the rows that are left out were not there."""

    def __init__(self, shards: Sequence[ShardFile]) -> None:
        out = [
            np.load(shard.without) + start if shard.without else np.empty(0, np.int64)
            for shard, start in zip(shards, np.cumsum([0, *(shard.rows for shard in shards)])[:-1], strict=True)
        ]
        gone = np.concatenate(out) if out else np.empty(0, np.int64)
        self._kept = np.delete(np.arange(sum(shard.rows for shard in shards)), gone) if len(gone) else None
        self._arrays = [np.load(shard.path, mmap_mode="r", allow_pickle=False) for shard in shards]
        self._lookups = [_Lookup(shard.lookup) if shard.lookup else None for shard in shards]
        self._starts = np.cumsum([0, *(shard.rows for shard in shards)])
        self.rows = int(self._starts[-1]) if self._kept is None else len(self._kept)

    def gather(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The rows, given in rising order."""
        if self._kept is not None:
            rows = self._kept[rows]
        if len(self._arrays) == 1:
            return self._read(0, rows)
        cuts = np.searchsorted(rows, self._starts)
        pieces = [
            self._read(shard, rows[start:stop] - self._starts[shard])
            for shard, (start, stop) in enumerate(pairwise(cuts))
            if stop > start
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _read(self, shard: int, rows: NDArray[np.int64]) -> NDArray[Any]:
        values = self._arrays[shard][rows]
        lookup = self._lookups[shard]
        return values if lookup is None else lookup(values)


class _Lookup:
    """Codes of a shard's own dictionaries to fitted indices. Code -1 (missing) reads the last entry of its column."""

    def __init__(self, columns: list[list[int]]) -> None:
        sizes = np.array([len(column) for column in columns])
        self._flat = np.concatenate([np.array(column, np.int32) for column in columns])
        self._starts = np.cumsum([0, *sizes[:-1]])
        self._sizes = sizes

    def __call__(self, codes: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.asarray(self._flat[np.where(codes < 0, self._sizes - 1, codes) + self._starts])


class Batches:
    """All features of one split, in whole batches.

    With `rates` (of each index that the column `classes` has) a shuffled epoch has a row so many times on average:
    the whole part of the rate for all rows, and of the rest as many rows of the class as it says, drawn anew each time.
    """

    def __init__(self, columns: dict[str, Sequence[ShardFile]], classes: str = "", rates: Sequence[float] = ()) -> None:
        self._columns = {name: Column(shards) for name, shards in columns.items()}
        self.rows = next(iter(self._columns.values())).rows
        self._classes: list[tuple[NDArray[np.int64], int, int]] = []
        if rates:
            found = self._columns[classes].gather(np.arange(self.rows))[:, 0]
            for index, rate in enumerate(rates):
                rows = np.flatnonzero(found == index)
                whole = int(rate)
                self._classes.append((rows, whole, round((rate - whole) * len(rows))))

    @property
    def drawn(self) -> int:
        """Rows of a shuffled epoch."""
        return sum(len(rows) * whole + more for rows, whole, more in self._classes) if self._classes else self.rows

    def count(self, batch_size: int) -> int:
        """How many batches a shuffled epoch has."""
        return len(self._starts(batch_size, self.drawn))

    def shuffled(self, batch_size: int, seed: int, epoch: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Every row once, or by its class's rate, in the order that (seed, epoch) fixes."""
        random = np.random.Generator(np.random.PCG64([seed, epoch]))
        if self._classes:
            chosen = [
                np.concatenate([np.repeat(rows, whole), random.choice(rows, more, replace=False)])
                for rows, whole, more in self._classes
            ]
            order = random.permutation(np.concatenate(chosen))
        else:
            order = random.permutation(self.rows)
        for start, stop in self._starts(batch_size, self.drawn):
            yield self._gather(np.sort(order[start:stop]))

    def ordered(self, batch_size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Every row once, in the order of the shards."""
        for start, stop in self._starts(batch_size, self.rows):
            yield self._gather(np.arange(start, stop))

    def _starts(self, batch_size: int, rows: int) -> list[tuple[int, int]]:
        """The bounds of each batch.

        The last may be smaller; a single row left over joins the batch before it, since batch normalisation cannot
        train on one.
        """
        starts = list(range(0, rows, batch_size))
        if len(starts) > 1 and rows - starts[-1] == 1:
            starts.pop()
        return list(zip(starts, [*starts[1:], rows], strict=True))

    def _gather(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {name: column.gather(rows) for name, column in self._columns.items()}

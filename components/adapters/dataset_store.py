"""The loader: whole batches gathered from mapped shards, in an order that (seed, epoch, position) fixes.

A batch is gathered in rising order, so that a page is read once; which rows it has is what the order says. Batch `k`
of an epoch has the same rows for any number of ranks: each takes its slice, all step equally often, and a row that only
fills up weighs nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.adapters.ahead import ahead
from components.adapters.orders import Drawn, Everywhere, Order, Straight
from components.adapters.shard_files import FORMAT, Ragged, open_shard

__all__ = ["FORMAT", "Loader", "ShardFile", "Shards"]

Rows = NDArray[np.int64]
Batch = dict[str, Any]
DEPTH = 2
"""Batches that are gathered ahead."""
WEIGHT = "row weight"
"""float32[rows] beside the columns of a batch in which rows fill up: 1, and 0 for these."""


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """One shard: its path, how many rows it has, and of columns of codes the lookup of each code.

    `without` is the path of the positions that are left out, rising, where any are.
    """

    path: str
    rows: int
    without: str = ""
    lookups: dict[str, list[list[int]]] = field(default_factory=dict)


class Shards:
    """The rows of all shards of a split, by number, as if those that are left out were not there."""

    def __init__(self, files: Sequence[ShardFile]) -> None:
        self._starts = np.cumsum([0, *(file.rows for file in files)])
        out = [
            np.load(file.without) + start if file.without else np.empty(0, np.int64)
            for file, start in zip(files, self._starts[:-1], strict=True)
        ]
        gone = np.concatenate([*out, np.empty(0, np.int64)])
        self._before = gone - np.arange(len(gone))
        self._arrays = [open_shard(file.path) for file in files]
        self._lookups = [{name: _Lookup(one) for name, one in file.lookups.items() if one} for file in files]
        self.rows = int(self._starts[-1]) - len(gone)
        self.names = tuple(self._arrays[0]) if files else ()

    def gather(self, rows: Rows, into: Batch | None = None) -> Batch:
        """The rows, which are given in rising order.

        Arrays of at least as many rows, `into` which they are written, save the time of finding memory for them.
        """
        if len(self._before):
            rows = rows + np.searchsorted(self._before, rows, "right")
        cuts = np.searchsorted(rows, self._starts)
        spans = [(shard, start, stop) for shard, (start, stop) in enumerate(pairwise(cuts)) if stop > start]
        return {name: self._column(name, rows, spans, (into or {}).get(name)) for name in self.names}

    def space(self, rows: int) -> Batch:
        """Arrays for so many rows, of the columns of fixed shape."""
        if not self._arrays:
            return {}
        fixed = {name: one for name, one in self._arrays[0].items() if not isinstance(one, Ragged)}
        return {name: np.empty((rows, *one.shape[1:]), one.dtype) for name, one in fixed.items()}

    def _column(self, name: str, rows: Rows, spans: list[tuple[int, int, int]], into: Any) -> Any:
        arrays: list[Any] = [shard[name] for shard in self._arrays]
        first = arrays[0]
        if isinstance(first, Ragged):
            pieces = [arrays[shard].take(rows[start:stop] - self._starts[shard]) for shard, start, stop in spans]
            return Ragged.joined([*pieces, first.take(np.empty(0, np.int64))])
        found = np.empty((len(rows), *first.shape[1:]), first.dtype) if into is None else into[: len(rows)]
        for shard, start, stop in spans:
            part = found[start:stop]
            # Positions are never out of bounds, and `clip` writes straight into the batch.
            np.take(arrays[shard], rows[start:stop] - self._starts[shard], axis=0, out=part, mode="clip")
            lookup = self._lookups[shard].get(name)
            if lookup is not None:
                part[...] = lookup(part)
        return found


class _Lookup:
    """Codes of a shard's own dictionaries to fitted indices. Code -1 (missing) reads the last entry of its column."""

    def __init__(self, columns: list[list[int]]) -> None:
        sizes = np.array([len(column) for column in columns])
        self._flat = np.concatenate([np.array(column, np.int32) for column in columns])
        self._starts = np.cumsum([0, *sizes[:-1]])
        self._sizes = sizes

    def __call__(self, codes: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.asarray(self._flat[np.where(codes < 0, self._sizes - 1, codes) + self._starts])


class Loader:
    """Batches of one split for one rank.

    With `rates` (of each index that the column `classes` has) a shuffled epoch has a row so many times on average:
    the whole part of the rate for all rows, and of the rest as many rows of the class as it says, drawn anew each time.
    """

    def __init__(
        self,
        files: Sequence[ShardFile],
        batch_size: int,
        *,
        seed: int | None = None,
        rank: int = 0,
        ranks: int = 1,
        classes: str = "",
        rates: Sequence[float] = (),
    ) -> None:
        self.shards = Shards(files)
        self._batch_size, self._seed = batch_size, seed
        self._rank, self._ranks = rank, ranks
        self._classes: list[tuple[Rows, int, int]] = []
        if rates:
            found = self.shards.gather(np.arange(self.shards.rows))[classes][:, 0]
            for index, rate in enumerate(rates):
                rows = np.flatnonzero(found == index)
                whole = int(rate)
                self._classes.append((rows, whole, round((rate - whole) * len(rows))))

    @property
    def rows(self) -> int:
        """Rows of an epoch, over all ranks."""
        more = sum(len(rows) * whole + more for rows, whole, more in self._classes)
        return more if self._classes else self.shards.rows

    def __len__(self) -> int:
        """How many batches an epoch has, on every rank."""
        return len(self._bounds())

    def epoch(self, number: int, start: int = 0, *, spaces: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from batch `start` on; with `spaces`, each is overwritten by one so many later."""
        order = self._order(number)
        bounds = self._bounds()[start:]
        most = max((end - begin for begin, end in bounds), default=0)
        reused = cycle([self.shards.space(-(-most // self._ranks)) for _ in range(spaces)] or [None])
        for (begin, end), into in zip(bounds, reused, strict=False):
            yield self._mine(order.at(begin, end), into)

    def ahead(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The same, gathered in a thread while the batches before are at work; each lasts until the next is asked."""
        return ahead(self.epoch(number, start, spaces=DEPTH + 2), DEPTH)

    def _order(self, epoch: int) -> Order:
        if self._seed is None:
            return Straight(self.rows)
        if not self._classes:
            return Everywhere(self.rows, self._seed, epoch)
        drawn = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        chosen = [
            np.concatenate([np.repeat(rows, whole), drawn.choice(rows, more, replace=False)])
            for rows, whole, more in self._classes
        ]
        return Drawn(drawn.permutation(np.concatenate(chosen)))

    def _mine(self, rows: Rows, into: Batch | None) -> Batch:
        """This rank's slice of a batch."""
        each = -(-len(rows) // self._ranks)
        mine = rows[self._rank * each : (self._rank + 1) * each]
        filled = each - len(mine)
        if not filled:
            batch = self.shards.gather(np.sort(mine), into)
        else:
            batch = self.shards.gather(np.sort(np.concatenate([mine, np.repeat(rows[:1], filled)])), into)
        if each * self._ranks != len(rows):
            weight = np.ones(each, np.float32)
            # Where the filling row stands after sorting.
            if filled:
                at = int(np.searchsorted(np.sort(mine), rows[0]))
                weight[at : at + filled] = 0
            batch[WEIGHT] = weight
        return batch

    def _bounds(self) -> list[tuple[int, int]]:
        """Where each batch begins and ends.

        The last may be smaller; a single row left over joins the batch before it, since batch normalisation cannot
        train on one.
        """
        starts = list(range(0, self.rows, self._batch_size))
        if len(starts) > 1 and self.rows - starts[-1] == 1:
            starts.pop()
        return list(zip(starts, [*starts[1:], self.rows], strict=True))

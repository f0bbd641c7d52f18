"""The loader: whole batches gathered from mapped shards, in an order that (seed, epoch, position) fixes.

A batch is gathered in rising order, so that a page is read once; which rows it has is what the order says. Batch `k`
of an epoch has the same rows for any number of ranks: each takes its slice, all step equally often, and a row that only
fills up weighs nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import cycle
from typing import Any, Literal

import numpy as np

from components.adapters.ahead import ahead
from components.adapters.lookups import Later, Lookup
from components.adapters.memory import memory_limit
from components.adapters.orders import Drawn, Everywhere, Nearby, Order, Straight
from components.adapters.shard_files import FORMAT
from components.adapters.shard_rows import Batch, Rows, ShardFile, Shards, taken
from components.contracts.spec import ROW_WEIGHT

__all__ = ["FORMAT", "Loader", "ShardFile", "Shards"]

Shuffle = Literal["auto", "everywhere", "nearby"]
DEPTH = 2
"""Batches that are gathered ahead."""
IN_MEMORY = 0.5
"""Shards of up to this share of the memory are read from anywhere: the system keeps them there."""
WINDOW = 0.125
"""What rows of a larger set are shuffled in, as a share of the memory: it has to stay there beside what trains."""
SPAN_BYTES, TOGETHER_BYTES = 2**14, 2**23
"""Batches are gathered together until so much of a shard is read at once, or they are so large."""
INDEX_BYTES = 32
"""Of a row, while several batches are gathered: its number, and where it goes."""
BLOCK_BYTES = 2**20
"""A disk reads neighbouring rows of so many bytes as fast as it can."""


class Loader:
    """Batches of one split for one rank.

    With `rates` (of each index that the column `classes` has) a shuffled epoch has a row so many times on average:
    the whole part of the rate for all rows, and of the rest as many rows of the class as it says, drawn anew each time.
    With a `seed` rows are shuffled: everywhere, or nearby (orders.py); auto: as the memory allows, `nearby` says in
    which blocks. With rates they are drawn from everywhere.
    """

    def __init__(
        self,
        files: Sequence[ShardFile],
        batch_size: int,
        *,
        lookups: Sequence[Mapping[str, Lookup | Later]] = (),
        seed: int | None = None,
        shuffle: Shuffle = "auto",
        rank: int = 0,
        ranks: int = 1,
        classes: str = "",
        rates: Sequence[float] = (),
    ) -> None:
        self.shards = Shards(files, lookups)
        self._batch_size, self._seed = batch_size, seed
        self._rank, self._ranks = rank, ranks
        self.nearby = _blocks(self.shards, shuffle) if seed is not None and not rates else {}
        self._classes: list[tuple[Rows, int, int]] = []
        if rates:
            found = self.shards.gather(np.arange(self.shards.rows), names=(classes,))[classes][:, 0]
            for index, rate in enumerate(rates):
                rows = np.flatnonzero(found == index)
                whole = int(rate)
                self._classes.append((rows, whole, round((rate - whole) * len(rows))))

    @property
    def rows(self) -> int:
        """Rows of an epoch, over all ranks."""
        more = sum(len(rows) * whole + more for rows, whole, more in self._classes)
        return more if self._classes else self.shards.rows

    @property
    def shuffled(self) -> str:
        """How: no, everywhere or nearby."""
        if self._seed is None:
            return "no"
        return "nearby" if self.nearby else "everywhere"

    def __len__(self) -> int:
        """How many batches an epoch has, on every rank."""
        return len(self._bounds)

    def epoch(
        self, number: int, start: int = 0, *, spaces: int = 0, empty: Callable[..., Any] | None = None
    ) -> Iterator[Batch]:
        """The batches of an epoch, from batch `start` on; with `spaces`, each is overwritten by one so many later.

        `empty(shape, dtype)` makes the arrays of each batch, where they are to lie in memory of some other kind.
        """
        order = self._order(number)
        bounds = self._bounds[start:]
        most = self._share(max((end - begin for begin, end in bounds), default=0))
        kept = cycle([self.shards.space(most) for _ in range(spaces)] or [None])
        for first in range(0, len(bounds), self._together):
            some = bounds[first : first + self._together]
            rows = order.at(some[0][0], some[-1][1])
            mine = np.split(rows, [end - some[0][0] for _, end in some[:-1]])
            places = (next(kept) if empty is None else self.shards.space(most, empty) for _ in some)
            yield from self._gathered([self._mine(one) for one in mine], places)

    def ahead(self, number: int, start: int = 0, *, empty: Callable[..., Any] | None = None) -> Iterator[Batch]:
        """The same, gathered in a thread while the batches before are at work; each lasts until the next is asked."""
        return ahead(self.epoch(number, start, spaces=DEPTH + 2, empty=empty), DEPTH)

    def _order(self, epoch: int) -> Order:
        if self._seed is None:
            return Straight(self.rows)
        if not self._classes:
            if self.nearby:
                return Nearby(self.rows, self._seed, epoch, **self.nearby)
            return Everywhere(self.rows, self._seed, epoch)
        drawn = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        chosen = [
            np.concatenate([np.repeat(rows, whole), drawn.choice(rows, more, replace=False)])
            for rows, whole, more in self._classes
        ]
        return Drawn(drawn.permutation(np.concatenate(chosen)))

    def _gathered(self, mine: Sequence[tuple[Rows, Batch]], places: Iterator[Batch | None]) -> Iterator[Batch]:
        """The batches of these rows, each written into arrays of its own; see `_together`."""
        if len(mine) == 1:
            ((rows, more),) = mine
            yield self.shards.gather(rows, next(places)) | more
            return
        every = np.concatenate([rows for rows, _ in mine])
        order = np.argsort(every, kind="stable")
        found = self.shards.gather(every[order])
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        ends = np.cumsum([len(rows) for rows, _ in mine])
        for at, (_, more) in zip(np.split(place, ends[:-1]), mine, strict=True):
            into = next(places) or {}
            yield {name: taken(values, at, into.get(name)) for name, values in found.items()} | more

    @cached_property
    def _together(self) -> int:
        """How many batches are gathered at once.

        Of many shards a shuffled batch has but a few rows of each, and going to a shard costs more than they do.
        """
        if self._seed is None or not self.rows:
            return 1
        batch = self._share(self._batch_size) * (self.shards.bytes // self.shards.rows + INDEX_BYTES)
        return max(1, min(SPAN_BYTES * self.shards.files, TOGETHER_BYTES) // batch)

    def _mine(self, rows: Rows) -> tuple[Rows, Batch]:
        """This rank's slice of a batch in rising order, and what weighs its rows where some only fill up.

        Where the slices are not equally long, the mean over all ranks of row losses times weights is the batch's mean.
        """
        each = self._share(len(rows))
        if each * self._ranks == len(rows):
            return np.sort(rows[self._rank * each : (self._rank + 1) * each]), {}
        mine = rows[self._rank * each : (self._rank + 1) * each]
        fills = np.arange(each) >= len(mine)
        mine = np.concatenate([mine, np.repeat(rows[:1], each - len(mine))])
        order = np.argsort(mine, kind="stable")
        return mine[order], {ROW_WEIGHT: np.where(fills[order], 0, each * self._ranks / len(rows)).astype(np.float32)}

    def _share(self, rows: int) -> int:
        """How many rows of so many each rank gets; of several ranks at least two, as batch normalisation needs."""
        return rows if self._ranks == 1 else max(-(-rows // self._ranks), 2)

    @cached_property
    def _bounds(self) -> list[tuple[int, int]]:
        """Where each batch begins and ends.

        The last may be smaller; a single row left over joins the batch before it, since batch normalisation cannot
        train on one.
        """
        starts = list(range(0, self.rows, self._batch_size))
        if len(starts) > 1 and self.rows - starts[-1] == 1:
            starts.pop()
        return list(zip(starts, [*starts[1:], self.rows], strict=True))


def _blocks(shards: Shards, shuffle: Shuffle) -> dict[str, int]:
    """The blocks of a shuffle nearby; none where rows are shuffled everywhere."""
    memory = memory_limit()
    if shuffle == "everywhere" or (shuffle == "auto" and shards.bytes <= IN_MEMORY * memory):
        return {}
    block = max(1, BLOCK_BYTES * shards.rows // max(shards.bytes, 1))
    return {"block": block, "blocks": max(2, int(WINDOW * memory) // BLOCK_BYTES)}

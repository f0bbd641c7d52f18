"""The loader: whole batches gathered from mapped shards, in an order that (seed, epoch, position) fixes.

A batch is gathered in rising order, so that a page is read once; which rows it has is what the order says. Batch `k`
of an epoch has the same rows for any number of ranks: each takes its slice, all step equally often, and a row that only
fills up weighs nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.adapters.ahead import ahead
from components.adapters.lookups import Later, Lookup
from components.adapters.memory import memory_limit
from components.adapters.orders import Drawn, Everywhere, Nearby, Order, Straight
from components.adapters.shard_files import FORMAT, Ragged, Stored, open_shard
from components.contracts.errors import IntegrityError
from components.contracts.spec import ROW_WEIGHT

__all__ = ["FORMAT", "Loader", "ShardFile", "Shards"]

Rows = NDArray[np.int64]
Batch = dict[str, Any]
Shuffle = Literal["auto", "everywhere", "nearby"]
DEPTH = 2
"""Batches that are gathered ahead."""
IN_MEMORY = 0.5
"""Shards of up to this share of the memory are read from anywhere: the system keeps them there."""
WINDOW = 0.125
"""What rows of a larger set are shuffled in, as a share of the memory: it has to stay there beside what trains."""
BLOCK_BYTES = 2**20
"""A disk reads neighbouring rows of so many bytes as fast as it can."""


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """One shard: its path, and how many rows it has.

    `without` is the path of the positions that are left out, rising, where any are. `fit` is the path of what its part
    says of it (features/shards.py).
    """

    path: str
    rows: int
    without: str = ""
    fit: str = ""


class Shards:
    """The rows of all shards of a split, by number, as if those that are left out were not there.

    `lookups` has for each shard the lookups of those columns that are codes.
    """

    def __init__(self, files: Sequence[ShardFile], lookups: Sequence[Mapping[str, Lookup | Later]] = ()) -> None:
        self._starts = np.cumsum([0, *(file.rows for file in files)])
        out = [
            np.load(file.without) + start if file.without else np.empty(0, np.int64)
            for file, start in zip(files, self._starts[:-1], strict=True)
        ]
        gone = np.concatenate([*out, np.empty(0, np.int64)])
        self._before = gone - np.arange(len(gone))
        shards = [open_shard(file.path) for file in files]
        _check_alike(files, shards)
        self.names = tuple(shards[0]) if files else ()
        self._arrays: dict[str, list[Any]] = {name: [shard[name] for shard in shards] for name in self.names}
        self._lookups = {name: [one.get(name) for one in lookups] or [None] * len(files) for name in self.names}
        self.rows = int(self._starts[-1]) - len(gone)
        self.bytes = sum(_bytes(one) for arrays in self._arrays.values() for one in arrays)

    def gather(self, rows: Rows, into: Batch | None = None, names: Sequence[str] = ()) -> Batch:
        """The rows, which are given in rising order; only the columns `names`, where some are given.

        Arrays of at least as many rows, `into` which they are written, save the time of finding memory for them.
        """
        if len(self._before):
            rows = rows + np.searchsorted(self._before, rows, "right")
        cuts = np.searchsorted(rows, self._starts)
        spans = [
            (shard, slice(start, stop), rows[start:stop] - self._starts[shard])
            for shard, (start, stop) in enumerate(pairwise(cuts))
            if stop > start
        ]
        return {name: self._column(name, len(rows), spans, (into or {}).get(name)) for name in names or self.names}

    def space(self, rows: int, empty: Callable[..., Any] = np.empty) -> Batch:
        """Arrays for so many rows, of the columns of fixed shape, made by `empty(shape, dtype)`."""
        first = {name: arrays[0] for name, arrays in self._arrays.items()}
        fixed = {name: one for name, one in first.items() if not isinstance(one, Ragged)}
        return {name: empty((rows, *one.shape[1:]), one.dtype) for name, one in fixed.items()}

    def _column(self, name: str, rows: int, spans: list[tuple[int, slice, Rows]], into: Any) -> Any:
        arrays, lookups = self._arrays[name], self._lookups[name]
        first = arrays[0]
        if isinstance(first, Ragged):
            pieces = [_looked(arrays[shard].take(at), lookups[shard]) for shard, _, at in spans]
            return Ragged.joined(pieces or [first.take(np.empty(0, np.int64))])
        found = np.empty((rows, *first.shape[1:]), first.dtype) if into is None else into[:rows]
        for shard, part, at in spans:
            # Positions are never out of bounds, and `clip` writes straight into the batch.
            np.take(arrays[shard], at, axis=0, out=found[part], mode="clip")
            lookup = lookups[shard]
            if lookup is not None:
                found[part] = lookup(found[part])
        return found


def _check_alike(files: Sequence[ShardFile], shards: Sequence[Mapping[str, Stored]]) -> None:
    """Raise E_SHARD where a shard has other rows or columns than its dataset says, or than the first shard has."""
    kinds = [{name: _kind(values) for name, values in shard.items()} for shard in shards]
    for file, shard, kind in zip(files, shards, kinds, strict=True):
        rows = {len(values) for values in shard.values()}
        wrong = [name for name in sorted({*kind, *kinds[0]}) if kind.get(name) != kinds[0].get(name)]
        if rows != {file.rows} or wrong:
            what = (
                f"its column {wrong[0]} is {kind.get(wrong[0], 'not there')}" if wrong else f"it has {max(rows)} rows"
            )
            raise IntegrityError(
                "E_SHARD",
                f"a shard is not as its dataset says: {what}",
                place=file.path,
                allowed=f"{kinds[0].get(wrong[0], 'no such column')}" if wrong else f"{file.rows} rows",
                action="run the same command with --rerun preprocess",
            )


def _kind(values: Stored) -> str:
    """What is the same in all shards of a column."""
    if isinstance(values, Ragged):
        return f"ragged {values.flat.dtype}"
    return f"{values.dtype}{list(values.shape[1:])}"


def _looked(values: Any, lookup: Lookup | Later | None) -> Any:
    return values if lookup is None else lookup(values)


def _bytes(values: Stored) -> int:
    return values.flat.nbytes + values.offsets.nbytes if isinstance(values, Ragged) else values.nbytes


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
        for begin, end in bounds:
            into = next(kept) if empty is None else self.shards.space(most, empty)
            yield self._mine(order.at(begin, end), into)

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

    def _mine(self, rows: Rows, into: Batch | None) -> Batch:
        """This rank's slice of a batch.

        Where the slices are not equally long, the mean over all ranks of row losses times weights is the batch's mean.
        """
        each = self._share(len(rows))
        if each * self._ranks == len(rows):
            return self.shards.gather(np.sort(rows[self._rank * each : (self._rank + 1) * each]), into)
        mine = rows[self._rank * each : (self._rank + 1) * each]
        fills = np.arange(each) >= len(mine)
        mine = np.concatenate([mine, np.repeat(rows[:1], each - len(mine))])
        order = np.argsort(mine, kind="stable")
        batch = self.shards.gather(mine[order], into)
        batch[ROW_WEIGHT] = np.where(fills[order], 0, each * self._ranks / len(rows)).astype(np.float32)
        return batch

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

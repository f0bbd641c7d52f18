"""The rows of mapped shards by number, as if all shards were one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.adapters.lookups import Later, Lookup
from components.adapters.shard_files import Ragged, Stored, open_shard
from components.contracts.errors import IntegrityError

Rows = NDArray[np.int64]
Batch = dict[str, Any]


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
        self.files, self.rows = len(files), int(self._starts[-1]) - len(gone)
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
            taken(arrays[shard], at, found[part])
            lookup = lookups[shard]
            if lookup is not None:
                found[part] = lookup(found[part])
        return found


def taken(values: Stored, at: Rows, into: Any) -> Any:
    """The rows at these positions, written `into` arrays of at least as many rows, where there are any."""
    if isinstance(values, Ragged):
        return values.take(at)
    # Positions are never out of bounds, and `clip` writes straight into the batch.
    return np.take(values, at, axis=0, out=None if into is None else into[: len(at)], mode="clip")


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

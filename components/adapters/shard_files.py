"""Shards of prepared arrays: Arrow files of one batch, mapped into memory where they lie.

A column of fixed shape is a fixed-size list, whose metadata say the shape; a ragged one is a list. So pandas, Polars
and DuckDB can read a shard, and a loader sees each column as one array without copying it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.contracts.errors import IntegrityError

FORMAT = 2
SHAPE = b"shape"
OPTIONS = pa.ipc.IpcWriteOptions(allow_64bit=True)
"""A column of a shard may have more than 2**31 numbers."""


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """Rows of different length: row `n` is `flat[offsets[n] : offsets[n + 1]]`; offsets are int64[rows + 1]."""

    flat: NDArray[Any]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def joined(cls, pieces: "Sequence[Ragged]") -> "Ragged":
        """All rows of all pieces."""
        lengths = [np.diff(piece.offsets) for piece in pieces]
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
        return cls(flat=np.concatenate([piece.flat for piece in pieces]), offsets=offsets)

    @classmethod
    def of(cls, rows: "Sequence[Sequence[Any]]", kind: Any) -> "Ragged":
        """The rows as numbers of `kind`."""
        offsets = np.cumsum([0, *map(len, rows)])
        return cls(flat=np.fromiter(chain.from_iterable(rows), kind, int(offsets[-1])), offsets=offsets)

    def __getitem__(self, chosen: NDArray[Any]) -> "Ragged":
        """The rows that are true in a bool[rows], or those at these positions."""
        return self.take(np.flatnonzero(chosen) if chosen.dtype == bool else chosen)

    def take(self, rows: NDArray[np.int64]) -> "Ragged":
        """The rows at these positions."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Ragged(flat=self.flat[at], offsets=offsets)


Stored = NDArray[Any] | Ragged


def write_shard(columns: Mapping[str, Stored], path: Path) -> None:
    """Write the columns, which have a row for each row."""
    made = [_column(name, values) for name, values in columns.items()]
    batch = pa.record_batch([array for _, array in made], schema=pa.schema([field for field, _ in made]))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema, options=OPTIONS) as writer:
        writer.write_batch(batch)


def open_shard(path: Path | str) -> dict[str, Stored]:
    """The columns as they lie in the file; nothing is read before it is looked at.

    Raises:
        IntegrityError: E_SHARD, it is no shard.
    """
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        return {field.name: _array(field, batch.column(at)) for at, field in enumerate(batch.schema)}
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            "E_SHARD",
            f"a shard cannot be read: {error}",
            place=str(path),
            action="run the same command with --rerun preprocess",
        ) from error


def _bytes(values: NDArray[Any]) -> NDArray[Any]:
    """In one piece, and truths as bytes: Arrow would pack them into bits, which cannot be mapped as an array."""
    found = np.ascontiguousarray(values)
    return found.view(np.uint8) if found.dtype == bool else found


def _column(name: str, values: Stored) -> tuple[pa.Field, pa.Array]:
    if isinstance(values, Ragged):
        inner = pa.array(_bytes(values.flat))
        array = pa.LargeListArray.from_arrays(pa.array(values.offsets), inner)
        return pa.field(name, array.type, nullable=False), array
    shape = values.shape[1:]
    array = pa.array(_bytes(values).reshape(-1))
    if shape:
        array = pa.FixedSizeListArray.from_arrays(array, prod(shape))
    return pa.field(name, array.type, nullable=False, metadata={SHAPE: json.dumps(shape)}), array


def _array(field: pa.Field, array: pa.Array) -> Stored:
    if pa.types.is_large_list(field.type):
        offsets = np.frombuffer(array.buffers()[1], np.int64, len(array) + 1)
        return Ragged(flat=_flat(array.values), offsets=offsets)
    shape = tuple(json.loads(field.metadata[SHAPE]))
    return _flat(array.values if shape else array).reshape(len(array), *shape)


def _flat(array: pa.Array) -> NDArray[Any]:
    """The numbers of an array without missing ones."""
    kind = np.dtype(array.type.to_pandas_dtype())
    buffer = array.buffers()[1]
    return np.frombuffer(buffer, kind, len(array)) if buffer is not None else np.empty(0, kind)

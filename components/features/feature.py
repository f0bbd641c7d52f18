"""What a feature offers, and the one array that it stores.

`prepare` hangs on no fitted state, so its result is written to shards once. `fit` of one partition gives a partial
state, `merge` joins two in any order, `finish` makes the state: plain JSON. `apply` turns a stored batch into the
tensor that the model sees; training, scoring and serving run that same code. A feature that changes cells may offer
`counted(values, state)`: how many of the stored training cells it fills, clips or whatever it calls what it does. One
of real numbers alone may offer `of_matrix(float64[rows, columns])`: what `prepare` stores of them. One whose `finish`
is too slow for every change of the rows says `dear`: its state is kept (preprocess/kept.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.adapters.lookups import Lookup
from components.adapters.shard_files import Ragged
from components.contracts.errors import DataError
from components.contracts.spec import TensorSpec

State = dict[str, Any]

NAME = r"^[a-z][a-z0-9_]{0,62}$"
"""What a feature may be called: it becomes a file name and an attribute of the network."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """`values` has one row per row, an array or Ragged.

    Dictionary codes in it index `dictionaries`, one per column (of ragged values one in all), -1 where missing.
    """

    values: Any
    dictionaries: list[list[str]] = field(default_factory=list)


class Feature(Protocol):
    """A config that turns columns into a tensor."""

    name: str
    columns: tuple[str, ...]

    def prepare(self, table: pa.Table) -> Prepared:
        """The stored form of the feature's columns."""

    def fit(self, prepared: Prepared) -> State:
        """The partial state of one partition's training rows."""

    def merge(self, first: State, second: State) -> State:
        """Two partial states as one."""

    def finish(self, partial: State) -> State:
        """The state."""

    def spec(self, state: State) -> TensorSpec:
        """The tensor that `apply` gives."""

    def lookup(self, state: State, dictionaries: list[list[str]]) -> Any:
        """Per column, which fitted index each dictionary entry has, and last the one of a missing cell.

        int32 arrays; of ragged values, Ragged: as many indices for each entry as it becomes.
        """

    def apply(self, values: Any, state: State) -> Any:
        """A stored batch as the model's input, on the batch's device.

        `values` is a tensor, codes already looked up; of ragged values, the numbers of all rows and int64[rows + 1]
        offsets into them.
        """


class OfNumbers:
    """The part of a feature that stores no codes."""

    def lookup(self, state: State, dictionaries: list[list[str]]) -> list[NDArray[np.int32]]:
        """Numbers have none."""
        return []


def tensor_of(values: Any) -> Any:
    """Stored values as what `apply` takes."""
    import torch

    if isinstance(values, Ragged):
        return torch.from_numpy(values.flat), torch.from_numpy(values.offsets)
    return torch.from_numpy(values)


def one_hot(indices: Any, sizes: Sequence[int]) -> Any:
    """int64[rows, columns] as float32[rows, sum of sizes]: a one in the place of each column's index."""
    import torch

    starts = torch.tensor([0, *np.cumsum(sizes)[:-1].tolist()], device=indices.device)
    found = torch.zeros(indices.shape[0], sum(sizes), device=indices.device)
    return found.scatter_(1, indices + starts, 1.0)


def indexed(feature: Feature, state: State, table: pa.Table) -> Any:
    """Rows as `apply` takes them, from the columns on: what serving does."""
    prepared = feature.prepare(table)
    if not prepared.dictionaries:
        return tensor_of(prepared.values)
    return tensor_of(Lookup(feature.lookup(state, prepared.dictionaries))(prepared.values))


def numbers_of(cells: pa.ChunkedArray, name: str, place: str, kind: pa.DataType) -> NDArray[np.float64]:
    """The cells of column `name` as `kind`, then as float64[rows], NaN where missing.

    Raises:
        DataError: E_TYPE, they cannot be.
    """
    try:
        if cells.type != kind:
            cells = cells.cast(kind)
        if cells.type != pa.float64():
            cells = cells.cast(pa.float64())
        found: NDArray[np.float64] = cells.to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        wanted = "truth" if pa.types.is_boolean(kind) else "number"
        raise DataError(
            "E_TYPE",
            f"{name} is {cells.type}, no {wanted}",
            place=place,
            value=name,
            action="give it a feature of its kind (text, bag, category, datetime), or make it one: declare it as a "
            f"{wanted} in checks.columns, or parse or cast it in cleaning",
        ) from error
    return found


def check_bytes(cells: pa.ChunkedArray, name: str, place: str) -> None:
    """Raise E_TYPE where the cells of column `name` are no encoded files."""
    if not (pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type)):
        raise DataError(
            "E_TYPE",
            f"{name} is {cells.type}, no column of encoded files",
            place=place,
            value=name,
            action="name a column of images or sounds, as of a source of media, or another kind of feature",
        )


def check_lists(cells: pa.ChunkedArray, name: str, place: str) -> None:
    """Raise E_TYPE where the cells of column `name` are no lists of numbers."""
    kind = cells.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise DataError(
            "E_TYPE",
            f"{name} is {kind}, no lists of numbers",
            place=place,
            value=name,
            action="name a column of lists, or declare it as floats in checks.columns",
        )


def finite(values: NDArray[np.float32], name: str, column: str) -> NDArray[np.float32]:
    """The values of feature `name`, if all are numbers that 32 bits hold.

    Raises:
        DataError: E_VALUE.
    """
    wrong = values[~np.isfinite(values)]
    if len(wrong):
        raise DataError(
            "E_VALUE",
            "a number that is none, or that 32 bits cannot hold",
            place=f"features.{name}",
            value=f"{column}: {wrong[0]}",
            allowed=f"up to {np.finfo(np.float32).max:.4g}",
            action="correct it in the data, or set such rows aside",
        )
    return values


def encode(table: pa.Table, columns: tuple[str, ...]) -> Prepared:
    """Text of the columns as int32[rows, columns] codes with their dictionaries."""
    codes, dictionaries = [], []
    for name in columns:
        encoded = table[name].cast(pa.string()).combine_chunks().dictionary_encode()
        codes.append(np.asarray(encoded.indices.fill_null(-1)).astype(np.int32))
        dictionaries.append(encoded.dictionary.to_pylist())
    return Prepared(values=np.stack(codes, axis=1), dictionaries=dictionaries)


def count(prepared: Prepared) -> list[dict[str, int]]:
    """How often each dictionary entry occurs, per column."""
    counted = []
    for column, entries in enumerate(prepared.dictionaries):
        codes = prepared.values[:, column]
        numbers = np.bincount(codes[codes >= 0], minlength=len(entries))
        counted.append({entry: int(number) for entry, number in zip(entries, numbers, strict=True) if number})
    return counted


def merged(feature: Feature, partials: Sequence[State]) -> State:
    """All partial states as one: pairs first, so that what grows while it is merged is not copied for every part."""
    left = list(partials)
    while len(left) > 1:
        pairs = [feature.merge(one, other) for one, other in zip(left[::2], left[1::2], strict=False)]
        left = pairs + left[len(pairs) * 2 :]
    return left[0]


def add_counts(first: list[dict[str, int]], second: list[dict[str, int]]) -> list[dict[str, int]]:
    """Two results of `count` as one."""
    return [
        {**one, **{entry: number + one.get(entry, 0) for entry, number in other.items()}}
        for one, other in zip(first, second, strict=True)
    ]

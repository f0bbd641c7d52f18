"""Codes of a shard's own dictionaries, turned into what they mean to a fitted feature."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.adapters.shard_files import Ragged

Table = NDArray[np.int32]


class Later:
    """A lookup that is made when the first code asks for it; values that turn out to be no codes stay."""

    def __init__(self, make: "Callable[[], Lookup | None]") -> None:
        self._make = make

    def __call__(self, codes: Any) -> Any:
        """As `Lookup`'s."""
        return codes if self._lookup is None else self._lookup(codes)

    @cached_property
    def _lookup(self) -> "Lookup | None":
        return self._make()


class Lookup:
    """What each code stands for; code -1 (missing) reads the last entry.

    `tables` has for each column of codes the index of each entry. Of ragged codes it is Ragged: each entry becomes so
    many indices, one after the other.
    """

    def __init__(self, tables: Sequence[Table] | Ragged) -> None:
        self._many = tables if isinstance(tables, Ragged) else None
        self._sizes = np.array([len(tables)] if isinstance(tables, Ragged) else [len(one) for one in tables])
        self._starts = np.cumsum([0, *self._sizes[:-1]])
        self._flat = np.concatenate([np.empty(0, np.int32), *tables]) if not isinstance(tables, Ragged) else tables.flat

    def __call__(self, codes: Any) -> Any:
        """Codes int32[rows, columns] give int32 of that shape; Ragged codes give Ragged."""
        if self._many is None:
            return self._flat[np.where(codes < 0, self._sizes - 1, codes) + self._starts]
        found = self._many.take(np.where(codes.flat < 0, self._sizes - 1, codes.flat))
        return Ragged(flat=found.flat, offsets=found.offsets[codes.offsets])

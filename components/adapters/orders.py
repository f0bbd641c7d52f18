"""In which order an epoch hands out rows: a function of (seed, epoch), so that any place in it can be found again.

`Everywhere` is a permutation of all rows. `Nearby` shuffles blocks of neighbouring rows, and rows within a window of
some blocks: for data that do not fit into memory, where a row from anywhere would be a page from anywhere.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

DRAWN = 2**22
"""Up to so many rows a permutation is drawn and kept; of more it is computed where it is needed."""
ROUNDS = 6


class Order(Protocol):
    """Rows by their positions in an epoch."""

    @property
    def rows(self) -> int:
        """How many there are."""

    def at(self, start: int, stop: int) -> Rows:
        """The rows at these positions, int64[stop - start]."""


@dataclass(frozen=True)
class Straight:
    """The order of the shards."""

    rows: int

    def at(self, start: int, stop: int) -> Rows:
        """The positions themselves."""
        return np.arange(start, stop)


@dataclass(frozen=True)
class Drawn:
    """An order that was drawn elsewhere."""

    order: Rows

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.order)

    def at(self, start: int, stop: int) -> Rows:
        """The rows at these positions."""
        return self.order[start:stop]


class Everywhere:
    """A permutation of all rows."""

    def __init__(self, rows: int, seed: int, epoch: int) -> None:
        self.rows = rows
        drawn = np.random.Generator(np.random.PCG64([seed, epoch]))
        self._order = drawn.permutation(rows) if rows <= DRAWN else None
        self._keys = drawn.integers(0, 2**32, ROUNDS, np.uint64)
        self._half = np.uint64((max(rows - 1, 1).bit_length() + 1) // 2)

    def at(self, start: int, stop: int) -> Rows:
        """The rows at these positions."""
        if self._order is not None:
            return self._order[start:stop]
        found = np.arange(start, stop, dtype=np.uint64)
        beyond = np.arange(len(found))
        # A Feistel network permutes a power of four; whoever leaves the rows goes on until it comes back.
        while len(beyond):
            found[beyond] = self._permuted(found[beyond])
            beyond = beyond[found[beyond] >= self.rows]
        return found.astype(np.int64)

    def _permuted(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        mask = np.uint64((1 << int(self._half)) - 1)
        left, right = values >> self._half, values & mask
        for key in self._keys:
            mixed = (right + key) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ (mixed >> np.uint64(32) & mask)
        return left << self._half | right


class Nearby:
    """Blocks of neighbouring rows in a drawn order; the rows of so many blocks at a time are shuffled together.

    Who reads it in order touches the blocks of one window only.
    """

    def __init__(self, rows: int, seed: int, epoch: int, *, block: int, blocks: int) -> None:
        self.rows = rows
        self._seed, self._epoch, self._block = seed, epoch, block
        drawn = np.random.Generator(np.random.PCG64([seed, epoch]))
        self._starts = drawn.permutation(-(-rows // block)) * block
        ends = np.minimum(self._starts + block, rows)
        sizes = ends - self._starts
        first = np.arange(0, len(sizes), blocks)
        self._windows = np.append(np.cumsum(np.append(0, sizes))[first], rows)
        self._blocks = blocks
        self._kept: tuple[int, Rows] = (-1, np.empty(0, np.int64))

    def at(self, start: int, stop: int) -> Rows:
        """The rows at these positions."""
        found = []
        while start < stop:
            window = int(np.searchsorted(self._windows, start, "right")) - 1
            begin, end = int(self._windows[window]), int(self._windows[window + 1])
            upto = min(stop, end)
            found.append(self._window(window)[start - begin : upto - begin])
            start = upto
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _window(self, number: int) -> Rows:
        if self._kept[0] != number:
            starts = self._starts[number * self._blocks : (number + 1) * self._blocks]
            rows = np.concatenate([np.arange(one, min(one + self._block, self.rows)) for one in starts])
            drawn = np.random.Generator(np.random.PCG64([self._seed, self._epoch, number]))
            self._kept = (number, drawn.permutation(rows))
        return self._kept[1]

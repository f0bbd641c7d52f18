"""Two samples of rows side by side, as arrays: what tests compare, and what can be drawn from again and again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.contracts.findings import ANSWER
from components.statistics.profile import numbers

COMMONEST = 50
"""Values of a category that are told apart; all others are one."""
MISSING, OTHER = -1, COMMONEST
WIDTH = 32
"""Of what the network makes of a row, as it is compared; wider ones are projected."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """Rows as arrays.

    `numbers` has NaN where a cell is missing, `categories` codes that mean the same on both sides, `inner` what the
    network makes of each row, `worse` how wrong each answer was, where that is known: the `metric`, of "-name" turned
    round. `refused` of the `came` were not fit to be answered; 0 of 0 where nobody knows.
    """

    rows: int
    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, NDArray[np.int64]]
    inner: NDArray[np.float64] | None = None
    worse: NDArray[np.float64] | None = None
    refused: int = 0
    came: int = 0
    metric: str = ""
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def drawn(self, rows: NDArray[np.int64]) -> "Side":
        """Some of the rows."""
        return replace(
            self,
            rows=len(rows),
            numbers={name: one[rows] for name, one in self.numbers.items()},
            categories={name: one[rows] for name, one in self.categories.items()},
            inner=None if self.inner is None else self.inner[rows],
            worse=None if self.worse is None else self.worse[rows],
            refused=0,
            came=0,
        )


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of some rows: their columns, the answers to them, and the rest as in Side."""

    columns: pa.Table
    answers: pa.Table
    inner: NDArray[np.float32] | None = None
    worse: NDArray[np.float64] | None = None
    refused: int = 0
    came: int = 0
    metric: str = ""


def side_by_side(before: Seen, now: Seen) -> tuple[Side, Side]:
    """Both as arrays, of what both have."""
    tables = [_named(one) for one in (before, now)]
    shared = [name for name in tables[0] if name in tables[1]]
    found_numbers: list[dict[str, Any]] = [{}, {}]
    found_codes: list[dict[str, Any]] = [{}, {}]
    names: dict[str, list[str]] = {}
    for name in shared:
        cells = [table[name] for table in tables]
        values = [numbers(one) for one in cells]
        if values[0] is not None and values[1] is not None:
            for found, one in zip(found_numbers, values, strict=True):
                found[name] = one
        elif cells[0].type == cells[1].type:
            codes, names[name] = _coded(cells)
            for told, code in zip(found_codes, codes, strict=True):
                told[name] = code
    inner = _projected([before.inner, now.inner])
    sides = [
        Side(
            rows=one.columns.num_rows,
            numbers=found_numbers[at],
            categories=found_codes[at],
            inner=inner[at],
            worse=one.worse,
            refused=one.refused,
            came=one.came,
            metric=one.metric,
            names=names,
        )
        for at, one in enumerate((before, now))
    ]
    return sides[0], sides[1]


def _named(seen: Seen) -> dict[str, pa.ChunkedArray]:
    """The columns by what they are called in findings: those of answers apart from the rows' own."""
    found = dict(zip(seen.columns.column_names, seen.columns.columns, strict=True))
    return found | {f"{ANSWER}{name}": seen.answers[name] for name in seen.answers.column_names}


def _coded(cells: Sequence[pa.ChunkedArray]) -> tuple[list[NDArray[np.int64]], list[str]]:
    """Whole numbers for the commonest values of both sides, OTHER for all others."""
    texts = [one.cast(pa.string()) for one in cells]
    counted = pc.value_counts(
        pa.chunked_array([chunk for one in texts for chunk in one.chunks], pa.string()).drop_null()
    )
    order = sorted(counted.to_pylist(), key=lambda one: (-one["counts"], one["values"]))[:COMMONEST]
    known = [one["values"] for one in order]
    codes = []
    for one in texts:
        places = pc.fill_null(pc.index_in(one, pa.array(known, pa.string())), OTHER)
        places = pc.if_else(pc.is_null(one), MISSING, places)
        codes.append(np.asarray(places.to_numpy(), np.int64))
    return codes, known


def _projected(given: Sequence[NDArray[np.float32] | None]) -> list[NDArray[np.float64] | None]:
    """What the network makes of the rows, along the same drawn directions on both sides (Johnson 1984)."""
    if any(one is None for one in given):
        return [None, None]
    found: list[NDArray[np.float64]] = [np.asarray(one, np.float64) for one in given]
    width = found[0].shape[1]
    if width > WIDTH:
        draw = np.random.Generator(np.random.PCG64(0))
        ways = draw.normal(size=(width, WIDTH)) / np.sqrt(WIDTH)
        found = [one @ ways for one in found]
    return list(found)

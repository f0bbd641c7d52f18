"""The package's figures on parts of the test rows: those that the recipe names, and those on which it is worst."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.contracts.findings import Slice
from components.contracts.spec import OWN_COLUMNS
from components.statistics.expression import Expression
from components.statistics.slices import is_expression, named, parts_of, traits, worst
from components.tally import SLICE_REPLICATES, Pair

SEARCHED_ROWS = 50_000
"""The search looks at no more; of more test rows at every second, third, … one."""
PLACE = "evaluate.slices"


class Cells:
    """What is kept of test rows to tell later which is in which slice."""

    def __init__(self, asked: Sequence[str], *, search: bool, expected: int) -> None:
        self.asked = tuple(dict.fromkeys(asked))
        self.step = -(-expected // SEARCHED_ROWS) or 1 if search else 0
        self.rows = 0
        self._held: dict[str, list[NDArray[np.bool_]]] = {}
        self._columns: list[pa.Table] = []
        self._traits: list[dict[str, Any]] = []
        self._searched: list[NDArray[np.int64]] = []

    def add(self, rows: pa.Table, truth: NDArray[Any], target: Any) -> None:
        """Keep of one chunk what slices need. A class is called as the model calls it."""
        table = rows.drop(list(OWN_COLUMNS))
        own = target.feature.columns[0] if target.feature.columns else ""
        if target.classes and truth.ndim == 1 and own in table.column_names:
            names = pa.array(np.array(target.classes, object)[truth], pa.string())
            table = table.set_column(table.column_names.index(own), own, names)
        kept = {}
        for text in self.asked:
            if is_expression(text, table.column_names):
                self._held.setdefault(text, []).append(Expression(text).holds(table, PLACE))
            elif (name := text.strip("`")) in table.column_names:
                kept[name] = table[name]
            else:
                named(text, table, PLACE)
        self._columns.append(pa.table(kept))
        if self.step:
            chosen = np.arange(-self.rows % self.step, table.num_rows, self.step)
            some = table.take(chosen)
            drop = [name for name in target.feature.columns if name in some.column_names]
            self._traits.append(traits(some.drop(drop)) | _pictures(some))
            self._searched.append(chosen + self.rows)
        self.rows += table.num_rows

    def parts(self, column: str) -> dict[str, NDArray[np.bool_]]:
        """bool[rows] of each value, or quarter, of a column that was asked for."""
        return parts_of(column, pa.concat_tables(self._columns)[column])

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """bool[rows] of each slice that the recipe names, in its order."""
        columns = pa.concat_tables(self._columns)
        found: dict[str, NDArray[np.bool_]] = {}
        for text in self.asked:
            if text in self._held:
                found[text] = np.concatenate(self._held[text])
            else:
                found |= parts_of(text.strip("`"), columns[text.strip("`")])
        return {name: mask for name, mask in found.items() if mask.any()}

    def searchable(self) -> tuple[list[dict[str, NDArray[np.bool_]]], NDArray[np.int64]]:
        """The parts of the searched rows by each column, and which of all rows these are."""
        if not self._searched:
            return [], np.zeros(0, np.int64)
        names = [name for name in self._traits[0] if all(name in one for one in self._traits)]
        joined = {name: pa.chunked_array([one[name] for one in self._traits]) for name in names}
        found = [parts_of(name, cells) for name, cells in joined.items()]
        return [one for one in found if len(one) > 1], np.concatenate(self._searched)


def slices_of(cells: Cells, pair: Pair, *, better: str, sign: int, least: int) -> tuple[tuple[Slice, ...], int]:
    """Each slice with its figures, and at how many the search looked.

    `better` is the metric, a mean over rows, by which the search tells what is worst; `sign` is -1 where less of it is
    better.
    """
    asked = [(name, mask, None) for name, mask in cells.masks().items()]
    parts, rows = cells.searchable()
    looked = 0
    searched: list[tuple[str, NDArray[np.bool_], float | None]] = []
    if len(rows) and better:
        values = sign * pair.ours.metrics[better][rows]
        found, looked = worst(parts, values, least=max(least, len(rows) // 100), count=5)
        for one in found:
            mask = np.zeros(pair.ours.rows, bool)
            mask[rows[one.mask]] = True
            searched.append((one.name, mask, one.chance))
    return tuple(_slice(pair, *one) for one in [*asked, *searched]), looked


def _slice(pair: Pair, name: str, mask: NDArray[np.bool_], chance: float | None) -> Slice:
    return Slice(
        name=name,
        rows=int(mask.sum()),
        shared=int((mask & pair.shared).sum()),
        chance=chance,
        metrics=pair.ours.where(mask).figures(SLICE_REPLICATES),
        gain=pair.gain(mask, SLICE_REPLICATES),
    )


def _pictures(rows: pa.Table) -> dict[str, pa.Array]:
    """How bright each picture is and how far its shades lie apart, of 255; missing where it is none."""
    found = {}
    for name in rows.column_names:
        if pa.types.is_binary(rows[name].type) or pa.types.is_large_binary(rows[name].type):
            shades = [_shades(cell) for cell in rows[name].to_pylist()]
            if any(shades):
                known = [one or (None, None) for one in shades]
                found[f"brightness of {name}"] = pa.array([one for one, _ in known], pa.float64())
                found[f"contrast of {name}"] = pa.array([one for _, one in known], pa.float64())
    return found


def _shades(cell: bytes | None) -> tuple[float, float] | None:
    from PIL import Image, UnidentifiedImageError

    try:
        pixels = np.asarray(Image.open(io.BytesIO(cell or b"")).convert("L"), np.float32)
    except (UnidentifiedImageError, OSError):
        return None
    return float(pixels.mean()), float(pixels.std())

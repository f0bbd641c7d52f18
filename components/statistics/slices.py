"""Parts of rows: those that a person names, and those on which a figure is worst, found by search.

A name is a column, each of whose values is a part, or an expression (expression.py). The search looks at every value
or quarter of every column and at all pairs of two columns; what it calls worse is so beyond chance, with every part
that it looked at counted (Bonferroni).
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.statistics.expression import Expression
from components.statistics.profile import numbers

VALUES = 20
"""Of a column of texts, the commonest ones; the rest are one part together."""
DISTINCT = 12
"""A column of whole numbers with no more than these is one of values, any other is cut into quarters."""
LONG = 40
"""Texts of more characters than this on average are told apart by how many words they have."""
CHANCE = 0.05
ALIKE = 0.7
"""Of two parts that share this much of their rows, the search names the worse one."""
OPERATOR = re.compile(r"[<>=!()'\"+*/]| in | is | and | or |^not ")

Mask = NDArray[np.bool_]


def check_slice(text: str) -> str:
    """The text, if it is an expression or may be a column.

    Raises:
        ValueError: It is an expression that cannot be read.
    """
    if OPERATOR.search(text.strip("`")):
        Expression(text)
    return text


def is_expression(text: str, columns: Sequence[str]) -> bool:
    """Whether the text is no column's name."""
    return text.strip("`") not in columns and bool(OPERATOR.search(text.strip("`")))


def named(text: str, rows: pa.Table, place: str) -> dict[str, Mask]:
    """The parts that a name of a column, or an expression, stands for.

    Raises:
        DataError: E_COLUMN_MISSING, E_TYPE.
    """
    name = text.strip("`")
    if is_expression(text, rows.column_names):
        return {text: Expression(text).holds(rows, place)}
    if name not in rows.column_names:
        Expression(f"`{name}` is None").holds(rows, place)
    return parts_of(name, rows[name])


def parts_of(name: str, cells: pa.ChunkedArray) -> dict[str, Mask]:
    """Every value, or quarter, of a column; rows without one are a part too."""
    found: dict[str, Mask] = {}
    if cells.null_count:
        found[f"{name} is missing"] = np.asarray(pc.is_null(cells))
    values = numbers(cells)
    if values is not None and (pa.types.is_floating(cells.type) or len(pc.unique(cells)) > DISTINCT):
        return found | _quarters(name, values, temporal=pa.types.is_temporal(cells.type))
    if not (values is not None or pa.types.is_string(cells.type) or pa.types.is_boolean(cells.type)):
        return found
    encoded = cells.cast(pa.string()).combine_chunks().dictionary_encode()
    codes = np.asarray(encoded.indices.fill_null(-1))
    counts = np.bincount(codes[codes >= 0], minlength=len(encoded.dictionary))
    common = np.argsort(-counts, kind="stable")[:VALUES]
    for at in common:
        found[f"{name} = {encoded.dictionary[int(at)].as_py()}"] = codes == at
    if len(counts) > VALUES:
        found[f"{name} = another value"] = (codes >= 0) & ~np.isin(codes, common)
    return found


def _quarters(name: str, values: NDArray[np.float64], *, temporal: bool) -> dict[str, Mask]:
    known = values[np.isfinite(values)]
    if not len(known):
        return {}
    bounds = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1], method="nearest"))
    if len(bounds) == 1:
        return {f"{name} = {_said(bounds[0], temporal=temporal)}": values == bounds[0]}
    found = {}
    for at, (low, high) in enumerate(itertools.pairwise(bounds)):
        last = at == len(bounds) - 2
        sign = "≤" if last else "<"
        text = f"{_said(low, temporal=temporal)} ≤ {name} {sign} {_said(high, temporal=temporal)}"
        found[text] = (values >= low) & (values <= high if last else values < high)
    return found


def _said(value: float, *, temporal: bool) -> str:
    return str(np.datetime64(int(value), "s")) if temporal else f"{value:.6g}"


def traits(rows: pa.Table) -> dict[str, pa.Array]:
    """What the search can tell rows apart by: numbers, truths, times and short texts, and of long ones their words."""
    found: dict[str, Any] = {}
    for name in rows.column_names:
        cells = rows[name].combine_chunks()
        kind = cells.type
        if pa.types.is_string(kind):
            if (pc.mean(pc.utf8_length(cells)).as_py() or 0) > LONG:
                name, cells = f"words of {name}", pc.list_value_length(pc.utf8_split_whitespace(cells))  # noqa: PLW2901
            found[name] = cells
        elif not pa.types.is_nested(kind) and not pa.types.is_binary(kind):
            found[name] = cells
    return found


@dataclass(frozen=True, kw_only=True)
class Worse:
    """A part of rows on which a figure is worse than on the rest; `chance` is how likely that is by luck alone."""

    name: str
    mask: Mask
    chance: float


def worst(
    columns: Sequence[dict[str, Mask]], values: NDArray[np.float64], *, least: int, count: int
) -> tuple[list[Worse], int]:
    """At most `count` parts of at least `least` rows whose mean of `values` is least, and how many were looked at.

    `columns` has the parts by each column. A pair is taken only where it is worse than either of its two alone.
    """
    names = [name for one in columns for name in one]
    if not names or len(values) < 2 * least:
        return [], 0
    owner = np.array([at for at, one in enumerate(columns) for _ in one])
    masks = np.stack([mask for one in columns for mask in one.values()]).astype(np.float32)
    shifted = (values - values.mean()).astype(np.float32)
    sizes, sums, squares = masks @ masks.T, (masks * shifted) @ masks.T, (masks * shifted**2) @ masks.T
    rows, total = len(values), float((shifted.astype(np.float64) ** 2).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = rows - sizes
        inside, outside = sums / sizes, -sums / rest
        spread = (squares / sizes - inside**2) / sizes + ((total - squares) / rest - outside**2) / rest
        score = np.where((sizes >= least) & (rest >= least), (outside - inside) / np.sqrt(np.maximum(spread, 1e-12)), 0)
    score = np.nan_to_num(score)
    single = np.diag(score)
    pairs = np.triu(np.ones_like(score, bool), 1) & (owner[:, None] != owner[None, :])
    # A pair has to add to what each of its two says.
    pairs &= (inside < np.diag(inside)[:, None]) & (inside < np.diag(inside)[None, :])
    looked = int((np.diag(sizes) >= least).sum() + (np.triu(sizes >= least, 1) & (owner[:, None] != owner)).sum())
    candidates = [(float(single[at]), at, at) for at in range(len(names))]
    candidates += [
        (float(score[one, other]), int(one), int(other)) for one, other in zip(*np.nonzero(pairs), strict=True)
    ]
    chosen: list[Worse] = []
    for value, one, other in sorted(candidates, key=lambda each: -each[0]):
        chance = min(1.0, looked * 0.5 * math.erfc(value / math.sqrt(2)))
        if chance > CHANCE or len(chosen) == count:
            break
        mask = (masks[one] * masks[other]).astype(bool)
        if any((mask & known.mask).sum() > ALIKE * min(mask.sum(), known.mask.sum()) for known in chosen):
            continue
        name = names[one] if one == other else f"{names[one]} and {names[other]}"
        chosen.append(Worse(name=name, mask=mask, chance=chance))
    return chosen, looked

"""Cells of a device's rows: their types, and the recipe's cleaning of values, in plain Python."""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from components.cleaning.misread import MARKS, fixed_text

Cells = Mapping[str, Sequence[Any]]
BLANKS = re.compile(r"[\t\n\f\r ]+")
"""What Arrow's expressions take for blanks."""
ODD = re.compile(MARKS)
KINDS: dict[str, Any] = {
    "string": str,
    "int64": int,
    "float64": (int, float),
    "bool": bool,
}
LEAST, MOST = -(2**63), 2**63 - 1


def readable(column: Mapping[str, Any], cells: Sequence[Any]) -> list[Any]:
    """The cells, if they are of the column's type.

    Raises:
        ValueError: One is not, or is missing and may not be.
    """
    name, kind = column["name"], KINDS.get(column["type"])
    for row, cell in enumerate(cells, 1):
        if cell is None:
            if not column["nullable"]:
                raise ValueError(f"row {row}: {name} may not be missing")
            continue
        wrong = kind is not None and (not isinstance(cell, kind) or (isinstance(cell, bool) and kind is not bool))
        wrong |= isinstance(cell, float) and not math.isfinite(cell)
        wrong |= column["type"] == "int64" and not wrong and not LEAST <= cell <= MOST
        if wrong:
            raise ValueError(f"row {row}: {name} is no {column['type']}: {cell!r:.60}")
    return list(cells)


def cleaned(operations: Sequence[Mapping[str, Any]], cells: Cells) -> dict[str, Sequence[Any]]:
    """The cells after what the recipe does to values.

    Raises:
        ValueError: Cleaning would drop a row.
    """
    found = dict(cells)
    for one in operations:
        if one["kind"] in KEEPS:
            _kept(one, found)
        change = VALUES.get(one["kind"])
        if change is not None:
            made = change(one)
            found |= {name: [made(cell) for cell in found[name]] for name in one["columns"] if name in found}
    return found


def _kept(one: Mapping[str, Any], cells: Cells) -> None:
    names = one["columns"] if one["kind"] == "require" else [one["column"]]
    for name in names:
        for row, cell in enumerate(cells.get(name, ()), 1):
            if not KEEPS[one["kind"]](one, cell):
                raise ValueError(f"row {row}: cleaning would drop it ({one['kind']} {name})")


def _compares(one: Mapping[str, Any], cell: Any) -> bool:
    if cell is None:
        return False
    if one["when"] == "one-of":
        return cell in one["values_of"]
    return bool(COMPARE[one["when"]](cell, one["value"]))


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "equal": lambda cell, value: cell == value,
    "not-equal": lambda cell, value: cell != value,
    "less": lambda cell, value: cell < value,
    "at-most": lambda cell, value: cell <= value,
    "greater": lambda cell, value: cell > value,
    "at-least": lambda cell, value: cell >= value,
}
KEEPS: dict[str, Callable[[Mapping[str, Any], Any], bool]] = {
    "require": lambda _, cell: cell is not None,
    "keep-rows": _compares,
}


def _on_text(change: Callable[[str], str]) -> Callable[[Any], Any]:
    return lambda cell: cell if cell is None else change(cell)


def _fill(one: Mapping[str, Any]) -> Callable[[Any], Any]:
    return lambda cell: one["value"] if cell is None else cell


def _clip(one: Mapping[str, Any]) -> Callable[[Any], Any]:
    low = -math.inf if one["minimum"] is None else one["minimum"]
    high = math.inf if one["maximum"] is None else one["maximum"]
    return lambda cell: cell if cell is None else min(max(cell, low), high)


def _mapped(one: Mapping[str, Any]) -> Callable[[Any], Any]:
    whole = {**{new: new for new in one["to"].values() if new is not None}, **one["to"]}
    return lambda cell: whole.get(cell, cell if one["others"] == "keep" else None)


def _normal(one: Mapping[str, Any]) -> Callable[[Any], Any]:
    def change(text: str) -> str:
        if one["form"] != "none":
            text = unicodedata.normalize(one["form"], text)
        if one["blanks"]:
            text = BLANKS.sub(" ", text).strip()
        return lowered(text) if one["lower"] else text

    return _on_text(change)


def lowered(text: str) -> str:
    """Lower case, sign by sign, as Arrow has it."""
    return "".join(sign.lower()[0] for sign in text)


def _without(one: Mapping[str, Any]) -> Callable[[Any], Any]:
    return _on_text(lambda text: text.removesuffix(one["suffix"]))


def _read_again(_: Mapping[str, Any]) -> Callable[[Any], Any]:
    return _on_text(lambda text: fixed_text(text) if ODD.search(text) else text)


VALUES: dict[str, Callable[[Mapping[str, Any]], Callable[[Any], Any]]] = {
    "fill": _fill,
    "clip": _clip,
    "map-values": _mapped,
    "normalise-text": _normal,
    "remove-suffix": _without,
    "fix-encoding": _read_again,
}
OPERATIONS = frozenset({*VALUES, *KEEPS, "drop-duplicates"})
"""What a device can do; a single row is never a duplicate."""

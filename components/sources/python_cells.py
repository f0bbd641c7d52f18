"""Python values, as drivers and parsers give them, as Arrow columns: nothing rounded, nothing guessed."""

import json
import uuid
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from components.contracts.errors import DataError
from components.contracts.spec import Column

SCALARS = (bool, int, float, str, bytes, datetime, date)
PLAIN: dict[type, Callable[[Any], Any]] = {
    uuid.UUID: str,
    memoryview: bytes,
    bytearray: bytes,
    dict: lambda value: json.dumps(value, default=str, sort_keys=True),
    tuple: list,
    set: sorted,
}
ARROW = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    date: pa.date32(),
}


def column(
    cells: Sequence[Any], name: str, declared: Column | None, place: Callable[[int], str], *, empty: str = "string"
) -> pa.Array:
    """The cells of one column; `place(n)` names the n-th one's row, `empty` is the type where all are missing.

    Exact decimals become what the column is declared as. A declared column of several types is given as text, for
    cleaning.typed to judge cell by cell.

    Raises:
        DataError: E_TYPE, a column that is not declared has values of several types; E_TYPE_UNSUPPORTED.
    """
    plain = [PLAIN[type(cell)](cell) if type(cell) in PLAIN else cell for cell in cells]
    kinds = {type(cell) for cell in plain} - {type(None)}
    if Decimal in kinds:
        plain = _decimals(plain, name, declared, place)
        kinds = {type(cell) for cell in plain} - {type(None)}
    try:
        if kinds == {int, float} and all(float(cell) == cell for cell in plain if isinstance(cell, int)):
            plain, kinds = [None if cell is None else float(cell) for cell in plain], {float}
        if not kinds:
            return pa.nulls(len(plain), pa.type_for_alias(empty))
        if len(kinds) == 1:
            (kind,) = kinds
            if kind is datetime:
                return _instants(plain)
            return pa.array(plain, ARROW.get(kind))
    except (OverflowError, UnicodeEncodeError, pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        pass
    if declared is not None:
        return pa.array([cell if cell is None or isinstance(cell, str) else _text(cell) for cell in plain], pa.string())
    first = type(next(cell for cell in plain if cell is not None))
    at = next((at for at, cell in enumerate(plain) if cell is not None and type(cell) is not first), 0)
    raise DataError(
        "E_TYPE",
        f"{name} holds values of several types, or some that 64 bits cannot hold",
        place=place(at),
        value=plain[at],
        action=f"declare it: checks.columns.{name}: {{type: string}}, or correct the data",
    )


def _instants(cells: list[Any]) -> pa.Array:
    """Aware times in UTC; naive ones stay naive, for the declared zone."""
    from datetime import UTC

    if all(cell is None or cell.tzinfo is None for cell in cells):
        return pa.array(cells, pa.timestamp("us"))
    if any(cell is not None and cell.tzinfo is None for cell in cells):
        raise pa.ArrowInvalid("times with and without a zone")
    return pa.array([cell and cell.astimezone(UTC) for cell in cells], pa.timestamp("us", tz="UTC"))


def _text(cell: Any) -> str:
    return cell.isoformat() if isinstance(cell, (date, datetime)) else json.dumps(cell, default=str)


def _decimals(cells: list[Any], name: str, declared: Column | None, place: Callable[[int], str]) -> list[Any]:
    kind = declared.type if declared else ""
    if kind == "float64":
        return [float(cell) if isinstance(cell, Decimal) else cell for cell in cells]
    if kind in {"string", "int64"}:
        return [str(cell) if isinstance(cell, (Decimal, int)) else cell for cell in cells]
    at = next(at for at, cell in enumerate(cells) if isinstance(cell, Decimal))
    raise DataError(
        "E_TYPE_UNSUPPORTED",
        f"{name} holds exact decimals",
        place=place(at),
        value=str(cells[at]),
        allowed="float64 (rounded to 16 digits), string (exact), int64",
        action=f"say which: checks.columns.{name}: {{type: float64}}",
    )


def sampled(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> dict[str, str]:
    """The Arrow types of the columns of a few rows, for parts in which all cells of one are missing."""
    types = {}
    for at, name in enumerate(names):
        first = next((row[at] for row in rows if row[at] is not None), None)
        kind = bool if isinstance(first, bool) else type(first)
        types[name] = str(ARROW.get(kind, pa.string()))
    return types

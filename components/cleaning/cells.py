"""A column read as a type: its values, and the cells that are not of it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.contracts.errors import ConfigError
from components.contracts.spec import Column

ARROW = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "binary": pa.binary(),
    "image": pa.binary(),
    "audio": pa.binary(),
    "floats": pa.list_(pa.float64()),
    "strings": pa.list_(pa.string()),
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Cells that are not of the type: bool[rows], a code and a reason."""

    rows: NDArray[np.bool_]
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A column read as its type: `values` are null where a fault says why."""

    values: pa.ChunkedArray
    faults: list[Fault] = field(default_factory=list)


def fault_of(mask: Any, code: str, reason: str) -> Fault:
    """The fault of the rows where `mask` is true."""
    return Fault(rows=np.asarray(pc.fill_null(mask, False)).astype(bool), code=code, reason=reason)


def kept(values: pa.ChunkedArray, faults: list[Fault]) -> Cells:
    """`values` without those that a fault names."""
    found = [fault for fault in faults if fault.rows.any()]
    for fault in found:
        values = pc.if_else(pa.array(~fault.rows), values, pa.scalar(None, values.type))
    return Cells(values=values, faults=found)


def where(cells: pa.ChunkedArray, good: Any, code: str, reason: str) -> tuple[pa.ChunkedArray, Fault]:
    """`cells` without those that are not `good`, and the fault of these."""
    fault = fault_of(pc.and_(pc.is_valid(cells), pc.invert(good)), code, reason)
    if fault.rows.any():
        cells = pc.if_else(pa.array(~fault.rows), cells, pa.scalar(None, cells.type))
    return cells, fault


def refused(cells: pa.ChunkedArray, column: Column) -> Cells:
    """No cell of this type can be the declared one."""
    reason = f"{cells.type} cannot be read as {column.type}"
    empty = pa.chunked_array([pa.nulls(len(cells), ARROW[column.type])])
    return Cells(values=empty, faults=[fault_of(pc.is_valid(cells), "E_TYPE", reason)] if len(cells) else [])


def cast(cells: pa.ChunkedArray, column: Column) -> Cells:
    """The cells as Arrow casts them, or none where it does not."""
    try:
        return Cells(values=pc.cast(cells, ARROW[column.type]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return refused(cells, column)


def constant(value: Any, kind: pa.DataType, place: str) -> pa.Scalar:
    """What a recipe writes, as a value of a column's type; a date or time is ISO 8601 text.

    Raises:
        ConfigError: E_CONFIG, it is none.
    """
    try:
        if isinstance(value, str) and pa.types.is_timestamp(kind):
            when = datetime.fromisoformat(value)
            return pa.scalar(when if when.tzinfo else when.replace(tzinfo=UTC), kind)
        if isinstance(value, str) != (pa.types.is_string(kind) or pa.types.is_temporal(kind)):
            raise ValueError("text beside a number, or a number beside text")
        return pa.scalar(value).cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        action = "write a value of that type, or declare the column's type in checks.columns"
        raise ConfigError(
            "E_CONFIG", f"no value of a {kind} column", place=place, value=value, action=action
        ) from error

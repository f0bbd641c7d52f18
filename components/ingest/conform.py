"""Columns as a source has them → the few types that snapshots are made of."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from components.cleaning.cells import ARROW, Fault
from components.cleaning.typed import read_cells
from components.contracts.errors import DataError, shorten
from components.contracts.spec import Column, ColumnType
from components.sources.partition import BadRow, Partition, Rows


def conformed(rows: Rows, declared: Sequence[Column], place: str) -> tuple[Rows, tuple[Column, ...]]:
    """`rows` with every column in a snapshot's type, and these types; a cell that has no such value sets its row aside.

    Raises:
        DataError: E_TYPE_UNSUPPORTED, E_TZ: a column that nobody declared cannot be kept as it is.
    """
    table, given = rows.table, {one.name: one for one in declared}
    columns, cells, faults = [], {}, []
    for field in table.schema:
        column = given.get(field.name) or Column(name=field.name, type=found_type(field, place))
        read = read_cells(table[field.name], column)
        columns.append(Column(name=column.name, type=column.type))
        cells[field.name] = read.values
        faults += [(field.name, fault) for fault in read.faults]
    bad = np.zeros(table.num_rows, bool)
    aside = list(rows.bad)
    for name, fault in faults:
        aside += [_bad_row(rows, name, fault, row) for row in np.flatnonzero(fault.rows & ~bad).tolist()]
        bad |= fault.rows
    clean = pa.table(cells) if cells else table
    numbers, files = rows.numbers, rows.files
    if bad.any():
        kept = pa.array(~bad)
        clean, numbers = clean.filter(kept), numbers.filter(kept)
        files = files.filter(kept) if files is not None else None
    return Rows(table=clean, numbers=numbers, files=files, bad=aside), tuple(columns)


def bad_lines(rows: Rows, piece: Partition) -> list[dict[str, Any]]:
    """What is wrong with the rows that could not be read, in their order."""
    return [
        {
            "place": f"{bad.file or piece.place}:{bad.row}",
            "code": bad.code,
            "column": bad.column,
            "reason": bad.reason,
            "value": bad.text,
        }
        for bad in sorted(rows.bad, key=lambda one: one.row)
    ]


def _bad_row(rows: Rows, name: str, fault: Fault, row: int) -> BadRow:
    return BadRow(
        row=rows.numbers[row].as_py(),
        code=fault.code,
        reason=fault.reason,
        text=shorten(rows.table[name][row].as_py()),
        column=name,
        file=str(rows.files[row].as_py()) if rows.files is not None else "",
    )


def found_type(field: pa.Field, place: str) -> ColumnType:
    """The snapshot's type of a column that is not declared.

    Raises:
        DataError: E_TYPE_UNSUPPORTED, E_TZ.
    """
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_timestamp(kind) and kind.tz is None:
        raise DataError(
            "E_TZ",
            "the column holds clock times without a zone",
            place=place,
            value=field.name,
            action=f"declare it: checks.columns.{field.name}: {{type: timestamp, timezone: UTC}}, or leave it out by "
            "source.select",
        )
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    inner = kind.value_type if lists else kind
    number = pa.types.is_integer(inner) or pa.types.is_floating(inner)
    text = pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)
    if lists and (number or text):
        return "floats" if number else "strings"
    tests: Iterable[tuple[bool, ColumnType]] = (
        (not lists and pa.types.is_integer(kind), "int64"),
        (not lists and pa.types.is_floating(kind), "float64"),
        (not lists and (text or pa.types.is_null(kind)), "string"),
        (pa.types.is_boolean(kind), "bool"),
        (pa.types.is_date(kind), "date"),
        (pa.types.is_timestamp(kind), "timestamp"),
        (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind), "binary"),
    )
    found = next((one for holds, one in tests if holds), None)
    if found is None:
        raise DataError(
            "E_TYPE_UNSUPPORTED",
            f"{kind} cannot be kept without loss",
            place=place,
            value=field.name,
            allowed=", ".join(ARROW),
            action=f"declare how it is to be read (checks.columns.{field.name}: {{type: string}} or float64), or leave "
            "it out by source.select",
        )
    return found

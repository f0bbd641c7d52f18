"""Declared column types: the cast, and which cells it refuses, with a code and a reason for each.

Whole numbers stay int64 with a missing mask and are never rounded through floats; text is never guessed at; a date
that is not in the calendar, and a clock time of which nobody says the zone, are refused and not shifted.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.cleaning.cells import ARROW, Cells, cast, fault_of, kept, refused, where
from components.cleaning.moments import read_day, read_instant, read_moments
from components.contracts.spec import Column

WHOLE = r"^[+-]?[0-9]+$"
REAL = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
TRUTH = r"^(?i:true|false|1|0)$"
LARGEST, SMALLEST = "9223372036854775807", "9223372036854775808"
"""The digits of the largest and of the smallest int64."""


def read_cells(cells: pa.ChunkedArray, column: Column) -> Cells:
    """`cells` as `column.type`."""
    if pa.types.is_dictionary(cells.type):
        cells = pc.cast(cells, cells.type.value_type)
    if pa.types.is_large_string(cells.type) or pa.types.is_string_view(cells.type):
        cells = pc.cast(cells, pa.string())
    target = ARROW[column.type]
    if column.type == "float64" and pa.types.is_floating(cells.type):
        if cells.type == target and _all_finite(cells):
            return Cells(values=cells)
        if column.nan == "missing":
            cells = pc.if_else(pc.is_nan(cells), pa.scalar(None, cells.type), cells)
        return kept(pc.cast(cells, target), [fault_of(pc.invert(pc.is_finite(cells)), "E_TYPE", "not a finite number")])
    if cells.type == target:
        return Cells(values=cells)
    if pa.types.is_null(cells.type):
        return Cells(values=pc.cast(cells, target))
    if pa.types.is_string(cells.type):
        return TEXT.get(column.type, refused)(cells, column)
    return _converted(cells, column)


def _all_finite(cells: pa.ChunkedArray) -> bool:
    """Whether none is missing or no finite number: the usual case, for which all else would take longer."""
    return all(not one.null_count and bool(np.isfinite(one.to_numpy()).all()) for one in cells.chunks)


def fits(cells: pa.ChunkedArray, column: Column) -> NDArray[np.bool_]:
    """bool[rows]: whether a cell is missing or can be read as the column's type without loss."""
    fitting = np.ones(len(cells), bool)
    for fault in read_cells(cells, column).faults:
        fitting &= ~fault.rows
    return fitting


def typed(table: pa.Table, columns: Sequence[Column]) -> pa.Table:
    """`table` with the declared columns that it has read as their types; other columns as they are."""
    declared, names = {one.name: one for one in columns}, table.column_names
    cells = table.columns
    read = [
        read_cells(one, declared[name]).values if name in declared else one
        for name, one in zip(names, cells, strict=True)
    ]
    if all(one is other for one, other in zip(read, cells, strict=True)):
        return table
    return pa.Table.from_arrays(read, names)


def _plain(cells: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """Numbers in text without what people write around and between their digits; what is no number stays none."""
    cells = pc.ascii_trim_whitespace(cells)
    if not column.as_people_write:
        return cells
    if column.unit:
        unit = re.escape(column.unit)
        cells = pc.replace_substring_regex(cells, rf"^(?:{unit}\s*([+-]?[0-9].*)|([+-]?[0-9].*?)\s*{unit})$", r"\1\2")
    if column.thousands:
        # Only where they stand before groups of three.
        mark = re.escape(column.thousands)
        groups = pc.match_substring_regex(cells, rf"^[+-]?[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+(?:[^0-9].*)?$")
        cells = pc.if_else(groups, pc.replace_substring(cells, column.thousands, ""), cells)
    if column.decimal == ",":
        point = pc.match_substring(cells, ".")
        cells = pc.if_else(point, cells, pc.replace_substring(cells, ",", ".", max_replacements=1))
        # With a decimal comma a point means nothing.
        cells = pc.if_else(point, pc.binary_join_element_wise(cells, "?", ""), cells)
    return cells


def _whole(cells: pa.ChunkedArray, column: Column) -> Cells:
    cells = _plain(cells, column)
    cells, wrong = where(cells, pc.match_substring_regex(cells, WHOLE), "E_TYPE", "not a whole number")
    digits = pc.ascii_ltrim(pc.replace_substring_regex(cells, r"^[+-]", ""), characters="0")
    limit = pc.if_else(pc.starts_with(cells, pattern="-"), SMALLEST, LARGEST)
    length = pc.utf8_length(digits)
    inside = pc.or_(pc.less(length, 19), pc.and_(pc.equal(length, 19), pc.less_equal(digits, limit)))
    cells, far = where(cells, inside, "E_OUT_OF_RANGE", "a whole number that 64 bits cannot hold")
    return kept(pc.cast(pc.replace_substring_regex(cells, r"^\+", ""), pa.int64()), [wrong, far])


def _real(cells: pa.ChunkedArray, column: Column) -> Cells:
    cells = _plain(cells, column)
    if column.nan == "missing":
        cells = pc.if_else(pc.equal(pc.ascii_lower(cells), "nan"), pa.scalar(None, cells.type), cells)
    cells, wrong = where(cells, pc.match_substring_regex(cells, REAL), "E_TYPE", "not a number")
    values = pc.cast(pc.replace_substring_regex(cells, r"^\+", ""), pa.float64())
    far = fault_of(pc.invert(pc.is_finite(values)), "E_OUT_OF_RANGE", "a number that 64 bits cannot hold")
    return kept(values, [wrong, far])


def _truth(cells: pa.ChunkedArray, _: Column) -> Cells:
    cells = pc.ascii_trim_whitespace(cells)
    cells, wrong = where(cells, pc.match_substring_regex(cells, TRUTH), "E_TYPE", "neither true nor false, 1 nor 0")
    true = pc.is_in(pc.ascii_lower(cells), pa.array(["true", "1"]))
    return kept(pc.if_else(pc.is_valid(cells), true, None), [wrong])


def _text(cells: pa.ChunkedArray, _: Column) -> Cells:
    return Cells(values=cells)


def _bytes(cells: pa.ChunkedArray, _: Column) -> Cells:
    return Cells(values=pc.cast(cells, pa.binary()))


TEXT: dict[str, Callable[[pa.ChunkedArray, Column], Cells]] = {
    "string": _text,
    "int64": _whole,
    "float64": _real,
    "bool": _truth,
    "date": read_day,
    "timestamp": read_instant,
    "binary": _bytes,
    "image": _bytes,
    "audio": _bytes,
}


def _converted(cells: pa.ChunkedArray, column: Column) -> Cells:
    """Cells of another type than text."""
    kind = cells.type
    number = pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_boolean(kind)
    number |= pa.types.is_floating(kind)
    if number and column.type in NUMBER:
        return NUMBER[column.type](cells)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return read_moments(cells, column)
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    castable = (binary and column.type in {"binary", "image", "audio"}) or (
        lists and column.type in {"floats", "strings"}
    )
    return cast(cells, column) if castable else refused(cells, column)


def _to_whole(cells: pa.ChunkedArray) -> Cells:
    if pa.types.is_boolean(cells.type) or (pa.types.is_integer(cells.type) and cells.type != pa.uint64()):
        return Cells(values=pc.cast(cells, pa.int64()))
    reals = pc.cast(cells, pa.float64(), safe=False)
    cells, part = where(cells, pc.equal(reals, pc.floor(reals)), "E_TYPE", "not a whole number")
    near = pc.and_(pc.less(reals, 2.0**63), pc.greater_equal(reals, -(2.0**63)))
    cells, far = where(cells, near, "E_OUT_OF_RANGE", "a whole number that 64 bits cannot hold")
    return kept(pc.cast(cells, pa.int64()), [part, far])


def _to_truth(cells: pa.ChunkedArray) -> Cells:
    known = pc.is_in(cells, pa.array([0, 1]).cast(cells.type))
    cells, wrong = where(cells, known, "E_TYPE", "neither 0 nor 1")
    return kept(pc.cast(cells, pa.bool_()), [wrong])


NUMBER: dict[str, Callable[[pa.ChunkedArray], Cells]] = {
    "int64": _to_whole,
    "float64": lambda cells: Cells(values=pc.cast(cells, pa.float64(), safe=False)),
    "bool": _to_truth,
    "string": lambda cells: Cells(values=pc.cast(cells, pa.string())),
}

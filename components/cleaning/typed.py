"""Declared column types: which cells have them, and the cast.

Whole numbers stay int64 with a missing mask and are never rounded through floats; text is never guessed at.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.spec import Column

ARROW = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "image": pa.binary(),
}
# 18 digits always fit int64; a longer number is refused rather than rounded.
PATTERNS = {
    "int64": r"^[+-]?\d{1,18}$",
    "float64": r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$",
    "bool": r"^(?i:true|false|1|0)$",
}


def fits(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """bool[rows]: whether a cell is missing or can be read as `kind` without loss."""
    everywhere = pc.is_valid(pc.fill_null(pc.is_null(column), True))
    if pa.types.is_floating(column.type) and kind == "float64":
        return pc.fill_null(pc.is_finite(column), True)
    if column.type == ARROW[kind] or kind in {"string", "image"}:
        return everywhere
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        reads = pc.fill_null(pc.match_substring_regex(column, PATTERNS[kind]), True)
        if kind == "float64":
            numbers = pc.cast(pc.if_else(reads, column, None), pa.float64())
            reads = pc.and_(reads, pc.fill_null(pc.is_finite(numbers), True))
        return reads
    if kind == "int64" and pa.types.is_floating(column.type):
        return pc.fill_null(pc.equal(column, pc.floor(column)), True)
    return everywhere


def typed(table: pa.Table, columns: Sequence[Column]) -> pa.Table:
    """`table` with the declared columns that it has cast to their types; other columns as they are."""
    for column in columns:
        if column.name in table.column_names:
            index = table.column_names.index(column.name)
            table = table.set_column(index, column.name, _cast(table[column.name], column.type))
    return table


def _cast(cells: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    target = ARROW[kind]
    if cells.type == target:
        return cells
    if kind == "int64" and (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
        cells = pc.replace_substring_regex(cells, r"^\+", "")
    return pc.cast(cells, target, safe=kind != "float64")

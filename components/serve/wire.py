"""Requests as bytes to typed rows, and answers to bytes: MLflow's wire format, without data frames in between.

JSON holds `dataframe_split`, `dataframe_records`, `inputs` or `instances`; CSV has a header. Cells are read by the
model's signature: nothing is guessed. Files are base64 texts in JSON.
"""

import base64
import binascii
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from components.cleaning.cells import ARROW
from components.contracts.errors import shorten
from components.contracts.spec import Column

BYTES = frozenset({"binary", "image", "audio"})
WRITTEN = frozenset({"date", "timestamp"})
"""Come as text, and are read as the signature says (cleaning/typed.py)."""
FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")
NUMBERS = frozenset({"int64", "float64", "floats"})
WRONG = (pa.ArrowException, OverflowError, TypeError, ValueError)
VALUE = 60
EXACT = 2**53
"""Up to here every whole number is a real one of 64 bits."""


class RefusedError(Exception):
    """A request that is the client's mistake: an HTTP status, a code and one line."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Asked:
    """The rows of one request: cells by column, in the client's order."""

    cells: Mapping[str, Sequence[Any]]
    rows: int
    lines: Sequence[Sequence[Any]] = ()
    """The same row by row, in the order of `cells`, where they came so."""


def read_json(body: bytes, most_rows: int) -> Asked:
    """The rows of a JSON body.

    Raises:
        RefusedError: 400, it is none of the forms; 413, it has too many rows.
    """
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        said = _with_nan(body) if b"NaN" in body else None
        if said is None:
            raise RefusedError(400, "E_NOT_JSON", f"the body is no JSON: {shorten(str(error), 200)}") from error
    found = [form for form in FORMS if isinstance(said, dict) and form in said]
    if len(found) != 1:
        raise RefusedError(400, "E_FORMAT", f"the body has to be an object with one of {', '.join(FORMS)}")
    rows = said[found[0]]
    if found[0] == "dataframe_split":
        return _split(rows, most_rows)
    if isinstance(rows, dict):
        return _columns(rows, found[0], most_rows)
    return _records(rows, found[0], most_rows)


def read_csv(body: bytes, columns: Sequence[Column], most_rows: int) -> Asked:
    """The rows of a CSV body with a header; an empty cell is missing.

    Raises:
        RefusedError: 400, it cannot be read; 413, it has too many rows.
    """
    kinds = {one.name: pa.string() for one in columns}
    try:
        table = csv.read_csv(
            io.BytesIO(body),
            csv.ReadOptions(use_threads=False),
            convert_options=csv.ConvertOptions(column_types=kinds, strings_can_be_null=True, null_values=[""]),
        )
        names = table.column_names
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise RefusedError(400, "E_FORMAT", f"the body is no CSV: {shorten(str(error), 200)}") from error
    if len(set(names)) < len(names):
        raise RefusedError(400, "E_DUP_COLUMN", "the header has a name twice")
    check_rows(table.num_rows, most_rows)
    return Asked({name: table[name] for name in names if name in kinds}, table.num_rows)


def check_rows(rows: int, most_rows: int) -> None:
    """Raise RefusedError where a request has no rows, or too many."""
    if not rows:
        raise RefusedError(400, "E_NO_ROWS", "the request has no rows")
    if rows > most_rows:
        raise RefusedError(413, "E_TOO_MANY_ROWS", f"the request has {rows:,} rows; at most {most_rows:,} are taken")


def table_of(asked: Sequence[Asked], columns: Sequence[Column]) -> pa.Table:
    """The rows of some requests one below the other, as the predictor takes them; other columns are left out.

    Raises:
        RefusedError: 400, a column or a cell is missing, or a cell is not of its type.
    """
    names = [one.name for one in columns]
    matrix = matrix_of(asked, names) if all(one.type == "float64" for one in columns) else None
    if matrix is not None:
        return pa.table(dict(zip(names, map(pa.array, matrix.T.copy()), strict=True)))
    return pa.table({one.name: _joined(asked, one) for one in columns})


def matrix_of(asked: Sequence[Asked], names: Sequence[str]) -> NDArray[np.float64] | None:
    """The same as float64[rows, columns], where every cell came as a number that a real one of 64 bits is.

    The commonest case of requests, and the widest. Otherwise None.
    """
    order = list(asked[0].cells)
    if not all(one.lines and list(one.cells) == order for one in asked):
        return None
    lines = [line for one in asked for line in one.lines]
    kinds = set(map(type, chain.from_iterable(lines)))
    places = {name: at for at, name in enumerate(order)}
    if not kinds <= {int, float} or any(name not in places for name in names):
        return None
    try:
        matrix = np.array(lines, np.float64)
    except OverflowError:
        return None
    if not np.isfinite(matrix).all() or (int in kinds and np.abs(matrix).max() > EXACT):
        return None
    return matrix if list(names) == order else matrix[:, [places[name] for name in names]]


def _with_nan(body: bytes) -> Any:
    """What MLflow's own client writes, where a missing cell is NaN; None where that is not what is wrong."""

    def constant(name: str) -> None:
        if name != "NaN":
            raise ValueError(name)

    try:
        return json.loads(body.decode(), parse_constant=constant)
    except (ValueError, RecursionError):
        return None


def _split(rows: Any, most_rows: int) -> Asked:
    names, data = (rows.get("columns"), rows.get("data")) if isinstance(rows, dict) else (None, None)
    if not isinstance(names, list) or not isinstance(data, list) or not all(isinstance(one, str) for one in names):
        raise RefusedError(400, "E_FORMAT", "dataframe_split has to have columns (texts) and data (rows)")
    if len(set(names)) < len(names):
        raise RefusedError(400, "E_DUP_COLUMN", "dataframe_split.columns has a name twice")
    check_rows(len(data), most_rows)
    for number, row in enumerate(data, 1):
        if not isinstance(row, list) or len(row) != len(names):
            raise RefusedError(400, "E_ROW_FIELDS", f"row {number} has to be a list of {len(names)} cells")
    return Asked(dict(zip(names, zip(*data, strict=True), strict=True)), len(data), data)


def _columns(cells: Mapping[str, Any], form: str, most_rows: int) -> Asked:
    lengths = {len(one) if isinstance(one, list) else -1 for one in cells.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise RefusedError(400, "E_FORMAT", f"{form} has to hold lists of one length, one for each column")
    check_rows(max(lengths), most_rows)
    return Asked(cells, max(lengths))


def _records(rows: Any, form: str, most_rows: int) -> Asked:
    if not isinstance(rows, list) or not all(isinstance(one, dict) for one in rows):
        raise RefusedError(400, "E_FORMAT", f"{form} has to be a list of objects, one for each row")
    check_rows(len(rows), most_rows)
    names = dict.fromkeys(name for one in rows for name in one)
    lines = [[one.get(name) for name in names] for one in rows]
    return Asked(dict(zip(names, zip(*lines, strict=True), strict=True)), len(rows), lines)


def _joined(asked: Sequence[Asked], column: Column) -> pa.Array:
    """A column's cells of all requests: read at once where they are, as in JSON, Python's own."""
    given = [one.cells.get(column.name) for one in asked]
    if len(asked) > 1 and all(isinstance(one, (list, tuple)) for one in given):
        cells = [cell for one in given if one is not None for cell in one]
        return _array(Asked({column.name: cells}, len(cells)), column)
    pieces = [_array(one, column) for one in asked]
    return pieces[0] if len(pieces) == 1 else pa.chunked_array(pieces).combine_chunks()


def _array(asked: Asked, column: Column) -> pa.Array:
    values = asked.cells.get(column.name)
    if values is None:
        if not column.nullable:
            raise RefusedError(400, "E_COLUMN_MISSING", f"the model needs the column {column.name}")
        return pa.nulls(asked.rows, ARROW[column.type])
    if isinstance(values, pa.ChunkedArray):
        found = values.combine_chunks()
    else:
        found = _typed([_bytes(one, column) for one in values] if column.type in BYTES else values, column)
    if found.null_count and not column.nullable:
        row = pc.index(pc.is_null(found), True).as_py() + 1
        raise RefusedError(400, "E_VALUE", f"row {row}: {column.name} may not be missing")
    return found


def _typed(values: Sequence[Any], column: Column) -> pa.Array:
    kind = pa.string() if column.type in WRITTEN else ARROW[column.type]
    read = _numbers if column.type in NUMBERS else pa.array
    try:
        return read(values, kind)
    except WRONG:
        for row, value in enumerate(values, 1):
            try:
                read([value], kind)
            except WRONG:
                said = shorten(value, VALUE)
                raise RefusedError(400, "E_TYPE", f"row {row}: {column.name} is no {column.type}: {said}") from None
        raise RefusedError(400, "E_TYPE", f"the cells of {column.name} are of different types") from None


def _numbers(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Whole numbers and real ones, or lists of them: Arrow alone would cut 3.5 to 3 and take a truth for 1."""
    found = pa.array(values)
    # Among numbers Arrow takes a truth for one of them.
    if bool in set(map(type, values)) or bool in set(map(type, chain.from_iterable(filter(_is_list, values)))):
        raise TypeError("bool")
    inner = found.type.value_type if pa.types.is_list(found.type) else found.type
    if not (pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_null(inner)):
        raise TypeError(str(inner))
    return found if found.type == kind else found.cast(kind)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _bytes(value: Any, column: Column) -> bytes | None:
    if value is None:
        return None
    try:
        # MLflow breaks its lines.
        return base64.b64decode(value.replace("\n", ""), validate=True)
    except (AttributeError, binascii.Error, TypeError, ValueError) as error:
        raise RefusedError(400, "E_TYPE", f"{column.name} has to be a file as base64 text") from error

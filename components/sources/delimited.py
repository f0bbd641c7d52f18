"""One piece of delimited text as a table: typed where that goes without loss, as text where a cell has to be looked at.

A record with too few or too many fields, with a quote out of place or with a NUL byte is set aside with its line, never
shifted or cut.
"""

from collections.abc import Sequence
from csv import QUOTE_NONE
from csv import Error as CsvError
from csv import reader as csv_lines
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from components.contracts.errors import DataError
from components.contracts.spec import Column
from components.sources.partition import BadRow, Rows
from components.sources.pieces import records

BLOCK = 2**23
SHOWN = 2000
LOOKED_AT = 2**20
LOWER = 32
"""The bit that tells a small letter from a capital."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How the cells of a text are told apart, and which of them mean: missing."""

    delimiter: str
    quoting: bool
    null_values: tuple[str, ...]
    trim: bool

    @property
    def quoted_by(self) -> str:
        """The delimiter that quotes stand beside; "" where quotes mean nothing."""
        return self.delimiter if self.quoting else ""


def first_cells(line: bytes, dialect: Dialect) -> list[str]:
    """The cells of a header or first row."""
    text = line.decode("utf-8-sig", "replace").strip("\r\n")
    plain = {} if dialect.quoting else {"quoting": QUOTE_NONE}
    try:
        cells: list[str] = next(csv_lines([text], delimiter=dialect.delimiter, skipinitialspace=True, **plain), [])  # type: ignore[arg-type]
    except CsvError as error:
        what = f"the header cannot be read ({error})"
        action = "check source.delimiter; lines end in LF or CR LF, not in CR alone"
        raise DataError("E_FORMAT", what, place="source", action=action) from error
    return [cell.strip() for cell in cells]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A piece of a file: its bytes, the file's name to a person, its first line; `plain` as Piece says it."""

    view: bytes | memoryview
    place: str
    line: int
    plain: int = -1

    @property
    def data(self) -> bytes:
        """The bytes, as a copy where the view is of a buffer."""
        return bytes(self.view)

    @property
    def may_be_hexadecimal(self) -> bool:
        """Whether `0x` or `0X` stands anywhere. Unlike `bytes.find`, looking lets other threads work meanwhile."""
        data = np.frombuffer(self.view, np.uint8)
        for start in range(0, len(data), LOOKED_AT):
            block = data[start : start + LOOKED_AT + 1]
            if np.any(block[np.maximum(np.flatnonzero(block | LOWER == ord("x")), 1) - 1] == ord("0")):
                return True
        return False


def read_delimited(text: Text, names: Sequence[str], dialect: Dialect, declared: Sequence[Column]) -> Rows:
    """The rows of a piece that holds no header.

    Raises:
        DataError: E_ENCODING.
    """
    types = _types(names, declared, dialect, text)
    odd: dict[int, tuple[str, str, str]] = {}

    def parsed(types: dict[str, pa.DataType]) -> pa.Table:
        odd.clear()

        def set_aside(row: csv.InvalidRow) -> str:
            number = (row.number or 1) - 1
            reason = f"{row.actual_columns} fields where {row.expected_columns} are expected"
            odd[number] = ("E_ROW_FIELDS", reason, row.text[:SHOWN])
            return "skip"

        # One thread: only then does the reader number the rows that it sets aside.
        return csv.read_csv(
            pa.BufferReader(pa.py_buffer(text.view)),
            read_options=csv.ReadOptions(column_names=list(names), use_threads=False, block_size=BLOCK),
            parse_options=csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char='"' if dialect.quoting else False,
                invalid_row_handler=set_aside,
                newlines_in_values=dialect.quoting and text.plain < 0,
            ),
            convert_options=csv.ConvertOptions(
                column_types={name: types.get(name, pa.string()) for name in names},
                strings_can_be_null=not dialect.trim,
                null_values=[] if dialect.trim else list(dialect.null_values),
                true_values=["1", "true", "True", "TRUE"],
                false_values=["0", "false", "False", "FALSE"],
            ),
        )

    try:
        table = parsed(types)
    except pa.ArrowInvalid:
        _check_encoding(text)
        table = parsed({})
    if dialect.trim:
        table = pa.table({name: _trimmed(table[name], dialect) for name in names})
    if not odd and table.num_rows == text.plain:
        return Rows(table=table, numbers=pa.array(np.arange(text.line, text.line + table.num_rows)))
    return _judged(text, table, dialect, odd)


def _judged(text: Text, table: pa.Table, dialect: Dialect, odd: dict[int, tuple[str, str, str]]) -> Rows:
    """`table` with its rows' lines, without those whose quotes or bytes are out of order."""
    data, line = text.data, text.line
    found = records(data, dialect.quoted_by)
    known = [one for one in sorted(odd) if one < len(found.lines)]
    numbers = np.delete(np.arange(len(found.lines)), known)
    if len(numbers) != table.num_rows or len(known) != len(odd):
        raise DataError(
            "E_FORMAT",
            f"{table.num_rows} rows were read where {len(numbers)} lines stand",
            place=text.place,
            action="check source.delimiter and source.quoting; lines end in LF or CR LF, not in CR alone",
        )
    keep = found.sound[numbers]
    reasons = {int(number): ("E_QUOTE", "a quote is out of place") for number in numbers[~keep]}
    if b"\0" in data:
        for name in table.column_names:
            if pa.types.is_string(table[name].type):
                nul = np.asarray(pc.fill_null(pc.match_substring(table[name], "\0"), False))
                reasons |= {int(number): ("E_BINARY_IN_TEXT", f"a NUL byte in {name}") for number in numbers[nul]}
                keep &= ~nul
    for number, (code, reason) in reasons.items():
        at = int(np.searchsorted(numbers, number))
        cells = table.slice(at, 1).to_pylist()[0].values()
        odd[number] = (code, reason, dialect.delimiter.join(map(str, cells))[:SHOWN])
    bad = [
        BadRow(row=line + int(found.lines[number]), code=code, reason=reason, text=shown)
        for number, (code, reason, shown) in sorted(odd.items())
    ]
    if not keep.all():
        table = table.filter(pa.array(keep))
    return Rows(table=table, numbers=pa.array(found.lines[numbers[keep]] + line), bad=bad)


def _types(names: Sequence[str], declared: Sequence[Column], dialect: Dialect, text: Text) -> dict[str, pa.DataType]:
    """What the reader may convert itself; everything else is read as text and converted by cleaning.typed."""
    if dialect.trim:
        return {}
    # The reader takes hexadecimal for whole numbers; we do not.
    whole = {} if text.may_be_hexadecimal else {"int64": pa.int64()}
    plain = {**whole, "float64": pa.float64(), "bool": pa.bool_()}
    types = {one.name: plain[one.type] for one in declared if one.type in plain and not one.as_people_write}
    for one in declared:
        if one.type == "date" and not one.format:
            types[one.name] = pa.date32()
        if one.type == "timestamp" and not one.format:
            types[one.name] = pa.timestamp("us") if one.timezone else pa.timestamp("us", tz="UTC")
    return {name: kind for name, kind in types.items() if name in names}


def _trimmed(cells: pa.ChunkedArray, dialect: Dialect) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(cells)
    return pc.if_else(pc.is_in(trimmed, pa.array(dialect.null_values, pa.string())), None, trimmed)


def _check_encoding(text: Text) -> None:
    """Raise E_ENCODING where the piece is not UTF-8, with the place of the first byte that is not."""
    data = text.data
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = text.line + data.count(b"\n", 0, error.start)
        raise encoding_error(data[error.start :], f"{text.place}:{line}", error.start) from error


def encoding_error(data: bytes, place: str, offset: int, guess: str = "") -> DataError:
    """The line for text that is not UTF-8, with a guess at what it is."""
    try:
        data[:1000].decode("cp1252")
        guess = guess or "cp1252"
    except UnicodeDecodeError:
        guess = guess or "latin-1"
    return DataError(
        "E_ENCODING",
        f"byte {offset} of the piece is not UTF-8",
        place=place,
        value=data[:20],
        allowed="UTF-8",
        action=f"if the text is {guess}, set source.encoding: {guess}",
    )

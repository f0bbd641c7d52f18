"""One piece of JSON Lines as a table: one object a line, nested objects flattened to dotted names.

The fast reader is used with every column's type given, since left alone it rounds large whole numbers and takes text
that looks like a date for one; whatever it stumbles over is read line by line, strictly (RFC 8259, no duplicate keys).
"""

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import json as arrow_json

from components.contracts.errors import shorten
from components.contracts.spec import Column
from components.sources.delimited import encoding_error
from components.sources.partition import BadRow, Rows
from components.sources.pieces import records
from components.sources.python_cells import column

DEEPEST = 32
SAMPLE = 200
BLOCK = 2**24
KINDS: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
EASY = {
    "string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(),
    "timestamp": pa.string(), "date": pa.string(),
}  # fmt: skip
"""What the fast reader is told of declared columns; times are read as text first."""


class _Unfit(ValueError):
    """A line that JSON allows or a parser takes, and we do not."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def read_json_lines(data: bytes, declared: Sequence[Column], place: str, line: int) -> Rows:
    """The rows of `data`, which begins at `line` of the file `place`.

    A line that is no object is set aside: E_NOT_JSON, E_DUP_KEY, E_DEPTH. A declared column that a line lacks is
    missing there.

    Raises:
        DataError: E_ENCODING; E_TYPE, a column that is not declared holds values of several types.
    """
    found = records(data, "")
    types = {one.name: EASY[one.type] for one in declared if one.type in EASY and not one.as_people_write}
    table = _fast(data, types)
    if table is not None and table.num_rows == len(found.lines):
        return Rows(table=table, numbers=pa.array(found.lines + line), bad=[])
    return _strict(data, declared, place, line)


def _fast(data: bytes, declared: dict[str, pa.DataType]) -> pa.Table | None:
    if b"NaN" in data or b"Infinity" in data or b"\0" in data:
        return None
    try:
        sample = [_flat(_parsed(line)) for line in data.split(b"\n", SAMPLE)[:SAMPLE] if line.strip()]
    except (ValueError, RecursionError):
        return None
    kinds: dict[str, set[type]] = {}
    for row in sample:
        for name, value in row.items():
            kinds.setdefault(name, set()).add(type(value))
    types = dict(declared)
    for name, seen in kinds.items():
        if "." in name:
            return None
        seen.discard(type(None))
        kind = KINDS.get(*seen) if len(seen) == 1 else None
        if name not in types:
            if kind is None:
                return None
            types[name] = kind
    schema = pa.schema(list(types.items()))
    try:
        table = arrow_json.read_json(
            io.BytesIO(data),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
        return None
    return table.select(list(types))


def _strict(data: bytes, declared: Sequence[Column], place: str, line: int) -> Rows:
    rows, numbers, bad = [], [], []
    for number, text in enumerate(data.split(b"\n"), line):
        if not text.strip():
            continue
        try:
            row = _flat(_parsed(text))
            if b"\\u" in text:
                _check_texts(row)
            rows.append(row)
            numbers.append(number)
        except UnicodeDecodeError as error:
            raise encoding_error(text[error.start :], f"{place}:{number}", error.start) from error
        except _Unfit as error:
            bad.append(BadRow(row=number, code=error.code, reason=str(error), text=_shown(text)))
        except RecursionError:
            bad.append(BadRow(row=number, code="E_DEPTH", reason=f"nested deeper than {DEEPEST}", text=_shown(text)))
        except ValueError as error:
            bad.append(BadRow(row=number, code="E_NOT_JSON", reason=str(error), text=_shown(text)))
    names = list(dict.fromkeys([*(one.name for one in declared), *(name for row in rows for name in row)]))
    given = {one.name: one for one in declared}
    columns = {
        name: column([row.get(name) for row in rows], name, given.get(name), lambda row: f"{place}:{numbers[row]}")
        for name in names
    }
    return Rows(table=pa.table(columns), numbers=pa.array(numbers, pa.int64()), bad=bad)


def _parsed(text: bytes) -> dict[str, Any]:
    found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    if not isinstance(found, dict):
        raise _Unfit("E_NOT_JSON", "not an object")
    return found


def _check_texts(row: dict[str, Any]) -> None:
    for name, value in row.items():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise _Unfit("E_NOT_JSON", f"{name} holds half a character") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise _Unfit("E_DUP_KEY", f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return dict(pairs)


def _no_constant(text: str) -> Any:
    raise _Unfit("E_NOT_JSON", f"{text} is no JSON number")


def _flat(row: dict[str, Any], prefix: str = "", depth: int = 1) -> dict[str, Any]:
    if depth > DEEPEST:
        raise _Unfit("E_DEPTH", f"nested deeper than {DEEPEST}")
    cells: dict[str, Any] = {}
    for name, value in row.items():
        nested = isinstance(value, dict)
        inner = _flat(value, f"{prefix}{name}.", depth + 1) if nested else {prefix + name: value}
        if cells.keys() & inner.keys():
            raise _Unfit("E_DUP_KEY", f"{min(cells.keys() & inner.keys())!r} stands twice once objects are flattened")
        cells |= inner
    return cells


def _shown(text: bytes) -> str:
    return shorten(text[:2000].decode("utf-8", "replace"), 2000)

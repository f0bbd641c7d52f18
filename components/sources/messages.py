"""The raw messages of a stream as a table, and the rows that they hold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contracts.errors import DataError, shorten
from components.contracts.spec import Column
from components.sources.json_lines import read_json_lines
from components.sources.partition import BadRow, Rows

NUMBER, WHEN, PAYLOAD = "number", "when", "payload."
"""Columns of the table of raw messages: number and time (UTC) of each, and what stands before the payload's names."""
MOST_BYTES = 2**28
"""A window is held in memory: one that is larger is an error that says so."""


def rows_of(
    raw: pa.Table,
    place: str,
    declared: Sequence[Column],
    *,
    json_field: str,
    fields: Mapping[str, str],
    time_column: str,
) -> Rows:
    """The rows of raw messages, as sources.stream.StreamSource says; a message that is no row is set aside."""
    rows = from_json(raw, place, declared, json_field, fields) if json_field else _texts(raw, declared, fields)
    table, numbers = rows.table, rows.numbers
    if not len(numbers):
        # Without rows nothing says what the columns are.
        table = pa.table({})
    elif fields:
        lacking = [one for one in fields.values() if one not in table.column_names]
        for one in lacking:
            table = table.append_column(one, pa.nulls(table.num_rows, pa.string()))
        table = pa.table({column: table[path] for column, path in fields.items()})
    if time_column and time_column in table.column_names:
        raise DataError(
            "E_DUP_COLUMN",
            "messages have a field of this name",
            place="source.time_column",
            value=time_column,
            action="give the column of the message's time another name",
        )
    if time_column and len(numbers):
        at = pc.index_in(numbers, raw[NUMBER].combine_chunks())
        table = table.append_column(time_column, raw[WHEN].take(at))
    files = pa.array([place] * len(numbers)).dictionary_encode()
    bad = [BadRow(row=one.row, code=one.code, reason=one.reason, text=one.text, file=place) for one in rows.bad]
    return Rows(table=table, numbers=numbers, files=files, bad=bad)


def from_json(
    raw: pa.Table, place: str, declared: Sequence[Column], json_field: str, fields: Mapping[str, str]
) -> Rows:
    """The JSON objects that a column of the payload holds."""
    name = PAYLOAD + json_field
    values = raw[name].to_pylist() if name in raw.column_names else [None] * raw.num_rows
    numbers = np.asarray(raw[NUMBER])
    wrong = [unreadable(value) for value in values]
    empty = np.array([code != "" for code, _ in wrong], bool)
    bad = [
        BadRow(row=int(numbers[at]), code=wrong[at][0], reason=wrong[at][1], text=shorten(values[at]))
        for at in np.flatnonzero(empty)
    ]
    # A line break in JSON stands between tokens only, where another white space says the same.
    lines = [value.replace(b"\n", b"\r") for value, gone in zip(values, empty, strict=True) if not gone]
    numbers = numbers[~empty]
    declared = [
        one.model_copy(update={"name": fields.get(one.name, one.name)})
        for one in declared
        if not fields or one.name in fields
    ]
    first = int(numbers[0]) if len(numbers) else 0
    rows = read_json_lines(b"\n".join(lines), declared, place, first)
    bad += [
        BadRow(row=int(numbers[one.row - first]), code=one.code, reason=one.reason, text=one.text) for one in rows.bad
    ]
    kept = pa.array(numbers[np.asarray(rows.numbers) - first], pa.int64())
    return Rows(table=rows.table, numbers=kept, bad=bad)


def unreadable(value: bytes | None) -> tuple[str, str]:
    """The code and the reason of a text that cannot be JSON; of any other "" and ""."""
    if not (value or b"").strip():
        return "E_NOT_JSON", "it has no value"
    try:
        (value or b"").decode()
    except UnicodeDecodeError as error:
        return "E_ENCODING", f"it is not UTF-8 at byte {error.start}"
    return "", ""


def _texts(raw: pa.Table, declared: Sequence[Column], fields: Mapping[str, str]) -> Rows:
    """Payload columns as text, those declared as bytes as they are."""
    kept = {fields.get(one.name, one.name) for one in declared if one.type in {"binary", "image", "audio"}}
    table = raw.drop([NUMBER, WHEN])
    table = table.rename_columns([name.removeprefix(PAYLOAD) for name in table.column_names])
    wrong = np.zeros(raw.num_rows, bool)
    bad = []
    for name in table.column_names:
        if name in kept:
            continue
        cells = table[name]
        try:
            cells = cells.cast(pa.string())
        except pa.ArrowInvalid:
            texts = [_decoded(cell) for cell in cells.to_pylist()]
            for at, text in enumerate(texts):
                if isinstance(text, UnicodeDecodeError) and not wrong[at]:
                    wrong[at] = True
                    row = raw[NUMBER][at].as_py()
                    what = f"{name} is not UTF-8 at byte {text.start}"
                    bad.append(BadRow(row=row, code="E_ENCODING", reason=what, text=shorten(text.object), column=name))
            cells = pa.chunked_array([[None if isinstance(one, UnicodeDecodeError) else one for one in texts]])
        table = table.set_column(table.column_names.index(name), name, cells)
    good = pa.array(~wrong)
    return Rows(table=table.filter(good), numbers=raw[NUMBER].filter(good).combine_chunks(), bad=bad)


def _decoded(cell: bytes | None) -> Any:
    try:
        return None if cell is None else cell.decode()
    except UnicodeDecodeError as error:
        return error


def check_size(held: int, place: str) -> None:
    """Raise E_LINE_TOO_LONG where a window's messages are more than is held in memory."""
    if held > MOST_BYTES:
        raise DataError(
            "E_LINE_TOO_LONG",
            f"this window's messages are more than {MOST_BYTES >> 20} MiB",
            place=place,
            action="lower source.window_rows, and raise source.generation to cut the windows anew",
        )


def raw_table(
    numbers: Sequence[int], times_ms: Sequence[int], payload: Mapping[str, Sequence[bytes | None]]
) -> pa.Table:
    """Messages as the table that `decoded` takes."""
    times = pa.array(np.asarray(times_ms, np.int64) * 1000).cast(pa.timestamp("us", "UTC"))
    return pa.table({
        NUMBER: pa.array(numbers, pa.int64()),
        WHEN: times,
        **{PAYLOAD + name: pa.array(cells, pa.binary()) for name, cells in payload.items()},
    })

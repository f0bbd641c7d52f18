"""Dates and times: a day that is not in the calendar, and a clock time of which nobody says the zone, are faults."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.cleaning.cells import ARROW, Cells, Fault, cast, fault_of, kept, refused, where
from components.contracts.spec import Column

OFFSET = r"[0-9](Z|[+-][0-9]{2}(:?[0-9]{2})?)$"


def read_day(cells: pa.ChunkedArray, column: Column) -> Cells:
    """Text as dates."""
    cells = pc.ascii_trim_whitespace(cells)
    if column.format:
        return _each(cells, pa.date32(), lambda text: datetime.strptime(text, column.format).date(), column)  # noqa: DTZ007
    try:
        return Cells(values=pc.cast(cells, pa.date32()))
    except pa.ArrowInvalid:
        return _each(cells, pa.date32(), date.fromisoformat, column)


def read_instant(cells: pa.ChunkedArray, column: Column) -> Cells:
    """Text as instants."""
    cells = pc.ascii_trim_whitespace(cells)
    if not column.format:
        sure = pc.match_substring_regex(cells, OFFSET)
        try:
            if pc.all(sure).as_py() in {True, None}:
                return Cells(values=pc.cast(cells, ARROW["timestamp"]))
            if column.timezone and not pc.any(sure).as_py():
                return _placed(pc.cast(cells, pa.timestamp("us")), column)
        except pa.ArrowInvalid:
            pass
    zone = ZoneInfo(column.timezone) if column.timezone else None

    def read(text: str) -> datetime:
        when = datetime.strptime(text, column.format) if column.format else datetime.fromisoformat(text)  # noqa: DTZ007
        if when.tzinfo is None:
            if zone is None:
                raise LookupError("a clock time without a zone: declare `timezone` for the column")
            first, second = when.replace(tzinfo=zone), when.replace(tzinfo=zone, fold=1)
            if first.utcoffset() != second.utcoffset():
                raise LookupError(f"a clock time that {column.timezone} has twice or not at all")
            when = first
        return when.astimezone(UTC)

    return _each(cells, ARROW["timestamp"], read, column)


def _each(cells: pa.ChunkedArray, target: pa.DataType, read: Callable[[str], Any], column: Column) -> Cells:
    """Every distinct text read by `read`; ValueError and LookupError are faults, the latter of time zones."""
    encoded = cells.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    values: list[Any] = []
    wrong: list[int] = []
    unplaced: dict[str, list[int]] = {}
    how = f"not a {column.type} written as {column.format or 'ISO 8601'} (`format` says how it is written)"
    for position, text in enumerate(encoded.dictionary.to_pylist()):
        try:
            values.append(read(text))
        except LookupError as error:
            values.append(None)
            unplaced.setdefault(str(error.args[0]), []).append(position)
        except (ValueError, OverflowError, re.error):
            values.append(None)
            wrong.append(position)
    codes = np.asarray(encoded.indices.fill_null(-1))
    taken = pa.array(values, target).take(encoded.indices)
    faults = [Fault(rows=np.isin(codes, wrong), code="E_TYPE", reason=how)] if wrong else []
    faults += [Fault(rows=np.isin(codes, where), code="E_TZ", reason=why) for why, where in unplaced.items()]
    return Cells(values=pa.chunked_array([taken]), faults=faults)


def _placed(naive: pa.ChunkedArray, column: Column) -> Cells:
    """Clock times of the column's zone as instants; those that the zone has twice or not at all are faults."""
    if not column.timezone:
        reason = "a clock time without a zone: declare `timezone` for the column"
        empty = pa.chunked_array([pa.nulls(len(naive), ARROW["timestamp"])])
        return Cells(values=empty, faults=[fault_of(pc.is_valid(naive), "E_TZ", reason)])
    naive = pc.cast(naive, pa.timestamp("us"), safe=False)
    if column.timezone == "UTC":
        return Cells(values=pc.cast(naive, ARROW["timestamp"]))
    first = pc.assume_timezone(naive, column.timezone, ambiguous="earliest", nonexistent="earliest")
    last = pc.assume_timezone(naive, column.timezone, ambiguous="latest", nonexistent="latest")
    reason = f"a clock time that {column.timezone} has twice or not at all"
    return kept(pc.cast(first, ARROW["timestamp"]), [fault_of(pc.not_equal(first, last), "E_TZ", reason)])


def read_moments(cells: pa.ChunkedArray, column: Column) -> Cells:
    """Dates and times as dates, times or text."""
    kind = cells.type
    if column.type == "timestamp":
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            return Cells(values=pc.cast(cells, ARROW["timestamp"], safe=False))
        return _placed(cells, column)
    if column.type == "date" and pa.types.is_timestamp(kind):
        days = pc.floor_temporal(cells, unit="day")
        _, wrong = where(cells, pc.equal(days, cells), "E_TYPE", "a time of day where a date is needed")
        return kept(pc.cast(days, pa.date32(), safe=False), [wrong])
    return cast(cells, column) if column.type in {"date", "string"} else refused(cells, column)

"""What every stream has: a log that only grows, cut into windows that never change once they are cut.

A window is one partition's messages between two positions. Which windows there are is remembered by ingest (a cut is
made before anything behind it is read), so that a run that is killed reads the same windows again, none twice and none
left out. Windows close when they hold `window_rows` messages, at every whole multiple of `window_seconds` of the
messages' own times, or else with what is there when a run begins.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, PrivateAttr

from components.contracts.config import StepConfig
from components.contracts.errors import DataError, shorten
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.json_lines import read_json_lines
from components.sources.partition import BadRow, DigestOf, Partition, Rows

NUMBER, WHEN = "#", "@"
"""Columns of the table of raw messages that are no payload: the message's number, and its time (UTC)."""
MOST_BYTES = 2**28
"""A window is held in memory: one that is larger is an error that says so."""

Position = int | str
Window = tuple[Position, Position, int]
"""From, to, and how many messages at most."""
Windows = dict[str, list[Window]]


class Log(Protocol):
    """One partition of a stream. What a position is, and whether a window holds its ends, is the log's business."""

    name: str

    def begin(self, start: str) -> Position:
        """Where the first window begins: `earliest`, `latest` or `group`."""

    def check(self, position: Position) -> None:
        """Raise E_SOURCE_CHANGED where the log ends before `position`: it is another one now."""

    def end(self) -> Position:
        """Where the last window may end."""

    def when(self, low: Position) -> float | None:
        """The time of the first message from `low` on, in seconds since 1970; None where there is none."""

    def until(self, moment: float, low: Position, high: Position) -> Position:
        """The end of the messages from `low` on that are older than `moment`."""

    def skip(self, low: Position, rows: int, high: Position) -> tuple[Position, int]:
        """The end of at most `rows` messages from `low` on and up to `high`, and how many they are."""


class StreamSource(StepConfig):
    """The base of streams: a subclass says how its logs are opened and a window is read."""

    start: Literal["earliest", "latest", "group"] = Field(
        "earliest", description="where the first run begins: the oldest message held, only new ones, or the group's"
    )
    generation: int = Field(1, ge=1, description="raise it to forget what was read, and begin anew at `start`")
    window_rows: int = Field(20_000, ge=1, description="messages that one window holds at most")
    window_seconds: int = Field(
        0, ge=0, description="windows end at whole multiples of this, by the messages' times; 0: not by time"
    )
    wait_for_full: bool = Field(False, description="whether messages wait in the stream until they fill window_rows")
    keep_windows: int = Field(0, ge=0, description="how many of the newest windows of a partition are used; 0: all")
    json_field: str = ""
    fields: dict[str, str] = Field(
        {}, description="column to the (dotted) name of its value in a message; none: every value that messages have"
    )
    time_column: str = Field("", description="name of a column for the message's time; none: it is left out")

    _known: tuple[list[Any], Windows] | None = PrivateAttr(None)
    _declared: tuple[Column, ...] = PrivateAttr(())

    def opened(self) -> AbstractContextManager[tuple[list[Any], list[Log]]]:
        """What the stream is to everybody (for instance cluster and topic), and its logs."""
        raise NotImplementedError

    def messages(self, argument: Mapping[str, Any]) -> pa.Table:
        """The raw messages of a window: `#`, `@`, and the payload's columns as bytes."""
        raise NotImplementedError

    def acknowledge(self, windows: Windows) -> None:
        """Tell the stream that everything up to the end of these windows is kept."""
        raise NotImplementedError

    def acknowledge_read(self) -> None:
        """Tell it of the windows that this source is made of."""
        if self._known:
            self.acknowledge(self._known[1])

    def declaring(self, columns: Sequence[Column]) -> Self:
        """The same source, reading values as what their columns are declared."""
        copy = self.model_copy()
        copy._declared = tuple(columns)  # noqa: SLF001 - its own
        return copy

    def at(self, identity: list[Any], windows: Windows) -> Self:
        """The same source, made of these windows."""
        copy = self.model_copy()
        copy._known = identity, windows  # noqa: SLF001 - its own
        return copy

    def identity(self) -> list[Any]:
        """What the stream is, wherever it runs: what its windows are remembered by."""
        if self._known:
            return self._known[0]
        with self.opened() as (identity, _):
            return [*identity, self.generation]

    def advanced(self, known: Mapping[str, Sequence[Sequence[Any]]]) -> Windows:
        """The known windows and those that have closed since.

        Raises:
            DataError: E_SOURCE_CHANGED, the stream ends before what was read.
        """
        with self.opened() as (_, logs):
            found: Windows = {name: [_window(one) for one in windows] for name, windows in known.items()}
            for log in logs:
                windows = found.setdefault(log.name, [])
                if windows:
                    log.check(windows[-1][1])
                else:
                    # An empty window remembers where it all began.
                    first = log.begin(self.start)
                    windows.append((first, first, 0))
                windows += self._closed(log, windows[-1][1])
            return found

    def _closed(self, log: Log, low: Position) -> Iterator[Window]:
        end, now = log.end(), time.time()
        while True:
            high = end
            if self.window_seconds:
                at = log.when(low)
                moment = (at // self.window_seconds + 1) * self.window_seconds if at is not None else now
                if at is None or moment > now:
                    return
                high = log.until(moment, low, end)
            upto, count = log.skip(low, self.window_rows, high)
            waits = self.wait_for_full and not self.window_seconds and count < self.window_rows
            if not count or waits:
                return
            yield low, upto, count
            low = upto

    def columns(self) -> tuple[Column, ...]:
        """None: messages say what they hold."""
        return ()

    def version(self, digest_of: DigestOf) -> str:
        """What the stream is, and its windows."""
        return digest([one.version for one in self.partitions(digest_of, Path())])

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """The windows, by partition of the stream and then in order."""
        identity, windows = self._known or (self.identity(), self.advanced({}))
        return [
            Partition(
                place=f"{self._called()}[{name}] {low}..{high}" if name else f"{self._called()} {low}..{high}",
                version=digest([*identity, name, low, high]),
                size_bytes=count * 200,
                argument={"log": name, "low": low, "high": high, "count": count},
            )
            for name, found in sorted(windows.items())
            for low, high, count in found[-self.keep_windows :]
            if count
        ]

    def _called(self) -> str:
        raise NotImplementedError

    def read(self, partition: Partition) -> Rows:
        """The rows of one window, from the stream itself."""
        return self.decoded(self.messages(partition.argument), partition)

    def decoded(self, raw: pa.Table, partition: Partition) -> Rows:
        """The rows of a window's raw messages; a message that is no row is set aside."""
        name = partition.argument["log"]
        place = f"{self._called()}[{name}]" if name else self._called()
        rows = self._from_json(raw, place) if self.json_field else _texts(raw, self._declared)
        table, numbers = rows.table, rows.numbers
        if self.fields:
            lacking = [one for one in self.fields.values() if one not in table.column_names]
            for one in lacking:
                table = table.append_column(one, pa.nulls(table.num_rows, pa.string()))
            table = pa.table({column: table[path] for column, path in self.fields.items()})
        if self.time_column:
            at = pc.index_in(numbers, raw[NUMBER].combine_chunks())
            table = table.append_column(self.time_column, raw[WHEN].take(at))
        files = pa.array([place] * len(numbers)).dictionary_encode()
        bad = [BadRow(row=one.row, code=one.code, reason=one.reason, text=one.text, file=place) for one in rows.bad]
        return Rows(table=table, numbers=numbers, files=files, bad=bad)

    def _from_json(self, raw: pa.Table, place: str) -> Rows:
        values = raw[self.json_field].to_pylist() if self.json_field in raw.column_names else [None] * raw.num_rows
        numbers = np.asarray(raw[NUMBER])
        empty = np.array([not (value or b"").strip() for value in values], bool)
        bad = [
            BadRow(row=int(numbers[at]), code="E_NOT_JSON", reason="it has no value", text=shorten(values[at]))
            for at in np.flatnonzero(empty)
        ]
        # A line break in JSON stands between tokens only, where another white space says the same.
        lines = [value.replace(b"\n", b"\r") for value, gone in zip(values, empty, strict=True) if not gone]
        numbers = numbers[~empty]
        declared = [
            one.model_copy(update={"name": self.fields.get(one.name, one.name)})
            for one in self._declared
            if not self.fields or one.name in self.fields
        ]
        first = int(numbers[0]) if len(numbers) else 0
        rows = read_json_lines(b"\n".join(lines), declared, place, first)
        bad += [
            BadRow(row=int(numbers[one.row - first]), code=one.code, reason=one.reason, text=one.text)
            for one in rows.bad
        ]
        kept = pa.array(numbers[np.asarray(rows.numbers) - first], pa.int64())
        return Rows(table=rows.table, numbers=kept, bad=bad)


def _window(one: Sequence[Any]) -> Window:
    low, high, count = one
    return low, high, int(count)


def _texts(raw: pa.Table, declared: Sequence[Column]) -> Rows:
    """Payload columns as text, those declared as bytes as they are."""
    kept = {one.name for one in declared if one.type in {"binary", "image", "audio"}}
    table = raw.drop([NUMBER, WHEN])
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
        **{name: pa.array(cells, pa.binary()) for name, cells in payload.items()},
    })

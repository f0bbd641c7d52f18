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

import pyarrow as pa
from pydantic import Field, PrivateAttr

from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.declared import DeclaredSource
from components.sources.messages import rows_of
from components.sources.partition import DigestOf, Partition, Rows

Position = int | str
Window = tuple[Position, Position, int, int]
"""From, to, how many messages at most; of a log's last one, how many the log had ever been given at its end."""
Windows = dict[str, list[Window]]


class Log(Protocol):
    """One partition of a stream. What a position is, and whether a window holds its ends, is the log's business."""

    name: str

    def begin(self, start: str) -> Position:
        """Where the first window begins: `earliest`, `latest` or `group`."""

    def check(self, position: Position, added: int) -> None:
        """Raise E_SOURCE_CHANGED where the log ends before `position`, or has lost what came behind it.

        `added` is what it had been given then.
        """

    def added(self, position: Position) -> int:
        """How many messages it had been given when `position` was its end; 0 where it does not say."""

    def end(self) -> Position:
        """Where the last window may end."""

    def when(self, low: Position) -> float | None:
        """The time of the first message from `low` on, in seconds since 1970; None where there is none."""

    def until(self, moment: float, low: Position, high: Position) -> Position:
        """The end of the messages from `low` on that are older than `moment`."""

    def skip(self, low: Position, rows: int, high: Position) -> tuple[Position, int]:
        """The end of at most `rows` messages from `low` on and up to `high`, and how many they are."""


class StreamSource(DeclaredSource):
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

    def opened(self) -> AbstractContextManager[tuple[list[Any], list[Log]]]:
        """What the stream is to everybody (for instance cluster and topic), and its logs."""
        raise NotImplementedError

    def messages(self, argument: Mapping[str, Any]) -> pa.Table:
        """The raw messages of a window, as `raw_table` makes them."""
        raise NotImplementedError

    def acknowledge(self, windows: Windows) -> None:
        """Tell the stream that everything up to the end of these windows is kept."""
        raise NotImplementedError

    def acknowledge_read(self) -> None:
        """Tell it of the windows that this source is made of."""
        if self._known:
            self.acknowledge(self._known[1])

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
                    log.check(windows[-1][1], windows[-1][3])
                else:
                    # An empty window remembers where it all began. A partition that came later is new as a whole.
                    first = log.begin("earliest" if known else self.start)
                    windows.append((first, first, 0, 0))
                before = known.get(log.name, ())
                windows += self._closed(log, windows[-1][1])
                if len(windows) != len(before):
                    low, high, count, _ = windows[-1]
                    windows[-1] = (low, high, count, log.added(high))
            return found

    def _closed(self, log: Log, low: Position) -> Iterator[Window]:
        end, now = log.end(), time.time()
        while True:
            high = end
            if self.window_seconds:
                at = log.when(low)
                if at is not None and at > now:
                    # A message from the future would hold up all behind it.
                    at = now - self.window_seconds
                moment = (at // self.window_seconds + 1) * self.window_seconds if at is not None else now
                if at is None or moment > now:
                    return
                high = log.until(moment, low, end)
            upto, count = log.skip(low, self.window_rows, high)
            waits = self.wait_for_full and not self.window_seconds and count < self.window_rows
            if not count or waits:
                return
            yield low, upto, count, 0
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
            for low, high, count, _ in found[-self.keep_windows :]
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
        return rows_of(
            raw,
            f"{self._called()}[{name}]" if name else self._called(),
            self._declared,
            json_field=self.json_field,
            fields=self.fields,
            time_column=self.time_column,
        )


def _window(one: Sequence[Any]) -> Window:
    low, high, count, added = one
    return low, high, int(count), int(added)

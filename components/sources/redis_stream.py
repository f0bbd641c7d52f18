"""A Redis stream: each window is the entries behind one id, up to another."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from components.adapters.redis import client
from components.adapters.secrets import REFERENCE
from components.contracts.config import placed
from components.contracts.errors import DataError
from components.sources.messages import check_size, raw_table
from components.sources.stream import Log, StreamSource, Windows

PAGE = 1000
FIRST = "0-0"


class RedisStreamSource(StreamSource):
    """Entries of one stream. The group's last delivered id is set once the store has the entries."""

    kind: Literal["redis-stream"] = "redis-stream"
    url: str = placed(
        pattern=r"^rediss?://[^@\s/?#:]+(:[0-9]{1,5})?(/[0-9]+)?$",
        description="redis://host:port/database, without a login",
    )
    user: str = placed("", description="the user's name; one that may only read is enough, without a group")
    password: str = placed("", pattern=REFERENCE, description="secret://name")
    stream: str = Field(min_length=1, description="the stream's key")
    group: str = placed("", description="the consumer group whose position is set; none: nobody's")
    json_field: str = Field("", description="a field of the entries that holds a JSON object; none: fields are columns")

    def _called(self) -> str:
        return self.stream

    def _client(self) -> AbstractContextManager[Any]:
        return client(self.url, self.user, self.password)

    @contextmanager
    def opened(self) -> Iterator[tuple[list[Any], list[Log]]]:
        """The server, its database and the key; the stream itself. Redis has no name of its own for a server."""
        with self._client() as server:
            if server.type(self.stream) != b"stream":
                raise DataError(
                    "E_SOURCE_EMPTY",
                    "there is no such stream",
                    place="source.stream",
                    value=self.stream,
                    action="correct the name",
                )
            address = [server.connection_pool.connection_kwargs.get(one) for one in ("host", "port", "db")]
            yield ["redis-stream", *address, self.stream], [RedisLog(server, self.stream, self.group)]

    def messages(self, argument: Mapping[str, Any]) -> pa.Table:
        """The entries of a window, each field a column of bytes.

        Raises:
            DataError: E_SOURCE_CHANGED, entries of it were deleted since it was cut.
        """
        numbers: list[int] = []
        entries: list[dict[bytes, bytes]] = []
        held = 0
        with self._client() as server:
            for name, entry in pages(server, self.stream, argument["low"], argument["high"]):
                numbers.append(int(name.partition(b"-")[0]))
                entries.append(entry)
                held += sum(len(key) + len(value) for key, value in entry.items())
                check_size(held, f"source.stream {self.stream}")
        if len(entries) != argument["count"]:
            raise DataError(
                "E_SOURCE_CHANGED",
                f"{len(entries)} entries are left of {argument['count']} that were seen",
                place=f"source.stream {self.stream} {argument['low']}..{argument['high']}",
                action="keep entries longer than runs are apart; to begin with what it holds now, raise "
                "source.generation",
            )
        names = sorted({name for entry in entries for name in entry})
        payload = {name.decode("utf-8", "replace"): [entry.get(name) for entry in entries] for name in names}
        return raw_table(numbers, numbers, payload)

    def acknowledge(self, windows: Windows) -> None:
        """Make the end of the windows the group's last delivered id."""
        if not self.group or not windows.get(""):
            return
        from redis.exceptions import ResponseError

        last = windows[""][-1][1]
        with self._client() as server:
            try:
                server.xgroup_create(self.stream, self.group, last)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
                server.xgroup_setid(self.stream, self.group, last)


class RedisLog:
    """The stream: a window holds the entries behind `low`, up to and with `high`."""

    name = ""

    def __init__(self, server: Any, stream: str, group: str) -> None:
        self._server, self._stream, self._group = server, stream, group
        # Asked once, so that the last entry and the number of entries belong together.
        self._info = server.xinfo_stream(stream)

    def begin(self, start: str) -> str:
        """The very first id, the last one there is, or what the group was given last."""
        if start == "group":
            groups = {one["name"].decode(): one["last-delivered-id"] for one in self._server.xinfo_groups(self._stream)}
            return str(groups.get(self._group, FIRST.encode()).decode())
        return self.end() if start == "latest" else FIRST

    def check(self, position: Any, added: int) -> None:
        """Raise where the stream has given fewer ids than `position`, or where entries behind it are gone."""
        last = self._info["last-generated-id"].decode()
        first = self._info["first-entry"]
        unread = first is None or _order(first[0].decode()) > _order(position)
        lost = self._info.get("entries-added", 0) - added - self._info["length"] if unread else 0
        if lost > 0 and _order(last) >= _order(position):
            raise DataError(
                "E_SOURCE_CHANGED",
                f"{lost} entries were trimmed or deleted before they were read",
                place=f"source.stream {self._stream} behind {position}",
                action="keep entries longer than runs are apart; to go on without them, raise source.generation",
            )
        if _order(last) < _order(position):
            raise DataError(
                "E_SOURCE_CHANGED",
                f"the stream ends at {last}, and was read up to {position}: it was made anew",
                place=f"source.stream {self._stream}",
                action="raise source.generation to begin anew",
            )

    def end(self) -> str:
        """The last entry's id."""
        last = self._info["last-entry"]
        return str(last[0].decode()) if last else str(self._info["last-generated-id"].decode())

    def added(self, position: Any) -> int:
        """How many entries the stream had ever been given when `position` was its last."""
        behind = sum(1 for _ in pages(self._server, self._stream, position, self.end()))
        return int(self._info.get("entries-added", 0)) - behind

    def when(self, low: Any) -> float | None:
        """The time in the id of the first entry behind `low`."""
        first = self._server.xrange(self._stream, f"({low}", count=1)
        return _order(first[0][0].decode())[0] / 1000 if first else None

    def until(self, moment: float, low: Any, high: Any) -> str:
        """The last entry that is older than `moment`."""
        last = self._server.xrevrange(self._stream, f"({int(moment * 1000)}-0", f"({low}", count=1)
        return last[0][0].decode() if last and _order(last[0][0].decode()) <= _order(high) else str(high)

    def skip(self, low: Any, rows: int, high: Any) -> tuple[str, int]:
        """Counted page by page, for Redis does not say how many lie between two ids."""
        count, last = 0, str(low)
        for name, _ in pages(self._server, self._stream, low, high, rows):
            count, last = count + 1, name.decode()
        return last, count


def pages(server: Any, stream: str, low: str, high: str, most: int | None = None) -> Iterator[tuple[bytes, Any]]:
    """The entries behind `low` up to `high`, at most so many, page by page."""
    left = most
    while left is None or left > 0:
        if _order(low) >= _order(high):
            return
        page = server.xrange(stream, f"({low}", high, count=PAGE if left is None else min(PAGE, left))
        yield from page
        if not page:
            return
        low = page[-1][0].decode()
        left = None if left is None else left - len(page)


def _order(name: str) -> tuple[int, int]:
    milliseconds, _, number = name.partition("-")
    return int(milliseconds), int(number or 0)

"""A Kafka topic: each window is one partition's messages from one offset to another."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from components.adapters.kafka import Topic, topic
from components.adapters.secrets import REFERENCE
from components.contracts.config import placed
from components.contracts.errors import DataError
from components.sources.messages import check_size, raw_table
from components.sources.stream import Log, StreamSource, Windows

VALUE, MESSAGE_KEY = "value", "key"


class KafkaSource(StreamSource):
    """Messages of one topic. Offsets are committed for `group` once the store has the messages."""

    kind: Literal["kafka"] = "kafka"
    servers: str = placed(pattern=r"^[^@\s]+$", description="host:port of one or more brokers, separated by commas")
    topic: str = Field(min_length=1, description="the topic")
    group: str = placed("millrace", description="the consumer group that offsets are committed for; none: nobody")
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = placed("plaintext", description="the wire")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = placed("SCRAM-SHA-512", description="the login")
    user: str = placed("", description="the user's name")
    password: str = placed("", pattern=REFERENCE, description="secret://name")
    authorities: str = placed("", description="file of the certificates that are trusted; none: the system's")
    json_field: Literal["value", ""] = Field(
        "value", description="value: messages are JSON objects; empty: columns `key` and `value`, as text"
    )

    def _called(self) -> str:
        return self.topic

    def _topic(self) -> AbstractContextManager[Topic]:
        return topic(
            self.topic,
            servers=self.servers,
            group=self.group,
            security=self.security,
            mechanism=self.mechanism,
            user=self.user,
            password=self.password,
            authorities=self.authorities,
        )

    @contextmanager
    def opened(self) -> Iterator[tuple[list[Any], list[Log]]]:
        """The cluster's own id and the topic; its partitions."""
        with self._topic() as found:
            yield (
                ["kafka", found.cluster or self.servers, found.name],
                [KafkaLog(found, one) for one in found.partitions],
            )

    def messages(self, argument: Mapping[str, Any]) -> pa.Table:
        """The messages of a window, keys and values as bytes."""
        numbers, times = [], []
        payload: dict[str, list[bytes | None]] = {MESSAGE_KEY: [], VALUE: []}
        held = 0
        with self._topic() as found:
            for message in found.messages(int(argument["log"]), argument["low"], argument["high"]):
                numbers.append(message.offset())
                times.append(max(message.timestamp()[1], 0))
                payload[MESSAGE_KEY].append(message.key())
                payload[VALUE].append(message.value())
                held += len(message)
                check_size(held, f"source.topic {self.topic}[{argument['log']}]")
        return raw_table(numbers, times, payload)

    def acknowledge(self, windows: Windows) -> None:
        """Commit the ends of the windows as the group's offsets."""
        ends = {int(name): found[-1][1] for name, found in windows.items() if found}
        if self.group and ends:
            with self._topic() as found:
                found.commit({partition: int(end) for partition, end in ends.items()})


class KafkaLog:
    """One partition: a window holds `low` <= offset < `high`."""

    def __init__(self, found: Topic, partition: int) -> None:
        self._topic, self._partition, self.name = found, partition, str(partition)
        self._low, self._high = found.bounds(partition)

    def begin(self, start: str) -> int:
        """The oldest offset held, the next to come, or what the group has committed (the oldest where it has not)."""
        committed = self._topic.committed().get(self._partition, 0) if start == "group" else 0
        return self._high if start == "latest" else max(self._low, committed)

    def check(self, position: Any, added: int) -> None:
        """Raise where the partition ends before `position`."""
        if self._high < position:
            raise DataError(
                "E_SOURCE_CHANGED",
                f"the partition ends at offset {self._high}, and was read up to {position}: the topic was made anew",
                place=f"source.topic {self._topic.name}[{self._partition}]",
                action="raise source.generation to begin anew",
            )

    def end(self) -> int:
        """The offset behind the last message."""
        return self._high

    def added(self, position: Any) -> int:
        """Offsets say themselves whether one is missing."""
        return 0

    def when(self, low: Any) -> float | None:
        """The time of the first message from `low` on."""
        first = next(self._topic.messages(self._partition, low, self._high, batch=1), None)
        return None if first is None else max(first.timestamp()[1], 0) / 1000

    def until(self, moment: float, low: Any, high: Any) -> int:
        """By halving, since times mostly rise; where they do not, a message counts to the window where it is found."""
        below, above = low + 1, high
        while below < above:
            middle = (below + above) // 2
            at = self.when(middle)
            if at is None or at >= moment:
                above = middle
            else:
                below = middle + 1
        return int(below)

    def skip(self, low: Any, rows: int, high: Any) -> tuple[int, int]:
        """By offsets: a window of a compacted topic holds fewer messages."""
        upto = min(low + rows, high)
        return upto, upto - low

"""Kafka by confluent-kafka: the messages of a topic from one offset to another, and a group's committed offsets."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from components.adapters.secrets import secret
from components.contracts.errors import DataError, EnvironmentFault

PLACE = "source.servers"
SECONDS = 10.0
SLICE_SECONDS = 0.2
BATCH = 1000


class Topic:
    """One topic, read by offsets that the caller names; nothing is committed unless `commit` is called."""

    def __init__(self, consumer: Any, name: str, servers: str) -> None:
        self._consumer, self.name, self._servers = consumer, name, servers
        with self._faults():
            found = consumer.list_topics(name, timeout=SECONDS)
        topic = found.topics[name]
        if topic.error is not None or not topic.partitions:
            reason = topic.error.str() if topic.error is not None else "it has no partitions"
            raise DataError(
                "E_SOURCE_EMPTY",
                f"there is no such topic that this user may read ({reason})",
                place="source.topic",
                value=name,
                action="correct the name, or let the user read it",
            )
        self.cluster: str = found.cluster_id or ""
        self.partitions: list[int] = sorted(topic.partitions)

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that is held, and the one behind the last that may be read."""
        with self._faults():
            low, high = self._consumer.get_watermark_offsets(self._one(partition), timeout=SECONDS)
        return low, high

    def messages(self, partition: int, start: int, end: int, batch: int = BATCH) -> Iterator[Any]:
        """The messages with `start` <= offset < `end`; compacted ones and transaction marks are not among them.

        Raises:
            DataError: E_SOURCE_CHANGED, the broker no longer holds `start`.
        """
        at = start
        with self._faults():
            self._consumer.assign([self._one(partition, start)])
            waited = 0.0
            while at < end:
                found = self._consumer.consume(min(batch, end - at), timeout=SLICE_SECONDS)
                waited = 0.0 if found else waited + SLICE_SECONDS
                if waited > SECONDS:
                    raise self._silent(f"no message for {SECONDS:g} s")
                for message in found:
                    if message.error() is not None:
                        at = max(at, self._judged(message, partition, start))
                        continue
                    at = message.offset() + 1
                    if message.offset() < end:
                        yield message

    def _judged(self, message: Any, partition: int, start: int) -> int:
        """How far a partition that ended goes; any other error is raised."""
        from confluent_kafka import KafkaError

        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's name for it
            return int(message.offset())
        if error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
            raise DataError(
                "E_SOURCE_CHANGED",
                "the broker no longer holds this offset",
                place=f"source.topic {self.name}[{partition}]",
                value=start,
                action="keep messages longer than runs are apart; to begin with what it holds now, raise "
                "source.generation",
            )
        raise self._silent(error.str())

    def committed(self) -> dict[int, int]:
        """The offsets that the group has committed."""
        with self._faults():
            found = self._consumer.committed([self._one(one) for one in self.partitions], timeout=SECONDS)
        return {one.partition: one.offset for one in found if one.offset >= 0}

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Make `offsets`, by partition, what the group has read."""
        with self._faults():
            self._consumer.commit(
                offsets=[self._one(partition, offset) for partition, offset in sorted(offsets.items())],
                asynchronous=False,
            )

    def _one(self, partition: int, offset: int | None = None) -> Any:
        from confluent_kafka import TopicPartition

        return TopicPartition(self.name, partition) if offset is None else TopicPartition(self.name, partition, offset)

    def _silent(self, reason: str) -> EnvironmentFault:
        return _unreachable(self._servers, reason)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        from confluent_kafka import KafkaError, KafkaException

        try:
            yield
        except KafkaException as error:
            found = error.args[0]
            denied = {
                KafkaError._AUTHENTICATION,  # noqa: SLF001
                KafkaError.SASL_AUTHENTICATION_FAILED,
                KafkaError.TOPIC_AUTHORIZATION_FAILED,
                KafkaError.GROUP_AUTHORIZATION_FAILED,
            }
            if isinstance(found, KafkaError) and found.code() in denied:
                raise _refused(self._servers, found.str()) from None
            raise self._silent(found.str() if isinstance(found, KafkaError) else str(found)) from None


@contextmanager
def topic(
    name: str, *, servers: str, group: str, security: str, mechanism: str, user: str, password: str, authorities: str
) -> Iterator[Topic]:
    """The topic, by a consumer that reads committed messages only.

    Raises:
        EnvironmentFault: E_EXTRA_MISSING, E_SOURCE_CONNECT, E_CREDENTIALS.
        DataError: E_SOURCE_EMPTY.
    """
    try:
        import confluent_kafka
    except ImportError as error:
        action = "install it: pip install -e '.[stream]'"
        raise EnvironmentFault(
            "E_EXTRA_MISSING", "confluent-kafka is not installed", place=PLACE, action=action
        ) from error
    refused: list[str] = []

    def noticed(error: Any) -> None:
        if error.code() == confluent_kafka.KafkaError._AUTHENTICATION:  # noqa: SLF001
            refused.append(error.str())

    settings = {
        "bootstrap.servers": servers,
        "group.id": group or f"millrace-{os.urandom(4).hex()}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "check.crcs": True,
        "security.protocol": security,
        "log_level": 0,
        "error_cb": noticed,
    }
    if authorities:
        settings["ssl.ca.location"] = authorities
    if security.startswith("sasl"):
        login = secret(password, "source.password")
        settings |= {"sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": login}
    try:
        consumer = confluent_kafka.Consumer(settings)
    except (confluent_kafka.KafkaException, ValueError) as error:
        raise EnvironmentFault(
            "E_SOURCE_CONNECT",
            f"the client refuses these settings ({error})"[:200],
            place="source",
            action="correct source.servers, source.security and source.authorities",
        ) from None
    try:
        yield Topic(consumer, name, servers)
    except EnvironmentFault as error:
        if error.code == "E_SOURCE_CONNECT":
            # The client tells of a refused login only who polls; to all else it is a broker that does not answer.
            consumer.poll(0)
            if refused:
                raise _refused(servers, refused[0]) from None
        raise
    finally:
        consumer.close()


def _refused(servers: str, reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        "E_CREDENTIALS",
        f"the broker refuses these credentials ({reason})"[:200],
        place=PLACE,
        value=servers,
        action="correct source.user and source.password (secret://name), or what the user may read",
    )


def _unreachable(servers: str, reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        "E_SOURCE_CONNECT",
        f"the broker does not answer ({reason})"[:200],
        place=PLACE,
        value=servers,
        action="start it or correct the address, then run the same command again",
    )

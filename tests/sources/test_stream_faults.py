"""Streams that lose messages, are killed, or hold odd ones: each message counts once or is missed aloud."""

import time

import pytest

from components.contracts.errors import MillraceError
from components.sources.kafka import KafkaSource
from components.sources.redis_stream import RedisStreamSource
from tests.faults.kills import killed_at
from tests.sources.test_streams import numbers, take
from tests.streams import RedisServer, RedisStream


def test_entries_that_were_trimmed_before_they_were_read_are_missed(redis, redis_server, ctx):
    stream = RedisStream(redis, redis_server.url, "trimmed")
    stream.send(range(10))
    take(stream.source(), ctx)
    stream.send(range(10, 30))
    redis.xtrim("trimmed", maxlen=5, approximate=False)
    with pytest.raises(
        MillraceError, match="E_SOURCE_CHANGED .*: 15 entries were trimmed or deleted before they were read"
    ):
        take(stream.source(), ctx)
    assert numbers(take(stream.source(generation=2), ctx)[1]) == list(range(25, 30))
    redis.xtrim("trimmed", maxlen=2, approximate=False)
    stream.send([30])
    assert numbers(take(stream.source(generation=2), ctx)[1]) == list(range(25, 31)), "what was read may go"


def test_a_partition_that_comes_later_is_read_from_its_beginning(broker, ctx):
    broker.send("grows", [b'{"n": 1}'])
    source = KafkaSource(servers=broker.servers, topic="grows", start="latest")
    known = source.advanced({})
    broker.send("grows", [b'{"n": 2}', b'{"n": 3}'], partitions=2)
    without = {name: windows for name, windows in known.items() if name != "1"}
    assert [window[2] for window in source.advanced(without)["1"]] == [0, 1]


def test_a_message_from_the_future_holds_nothing_up(broker, ctx):
    now = int(time.time() * 1000)
    times = [now * 1000, *(now - 600_000 + at for at in range(4))]
    broker.send("future", [b'{"n": %d}' % one for one in range(5)], times=times)
    source = KafkaSource(servers=broker.servers, topic="future", window_seconds=60)
    assert numbers(take(source, ctx)[1]) == list(range(5))


def test_two_servers_do_not_share_what_is_remembered(broker, redis, redis_server, ctx):
    other = RedisServer()
    try:
        redis.xadd("same", {"n": 1})
        with other.connect() as client:
            client.xadd("same", {"n": 100})
        rows = [take(RedisStreamSource(url=one.url, stream="same"), ctx)[1] for one in (redis_server, other)]
        assert [numbers(one) for one in rows] == [[1], [100]]
    finally:
        other.stop()


def test_windows_without_a_row_and_fields_of_any_name(redis, redis_server, ctx):
    redis.xadd("any", {"n": 1, "number": 2, "when": 3, "": 4})
    source = RedisStreamSource(url=redis_server.url, stream="any", window_rows=1)
    assert take(source, ctx)[1] == [{"n": 1, "number": "2", "when": "3", "": "4"}]
    redis.xadd("json", {"d": '{"n": 1}'})
    redis.xadd("json", {"d": b'{"n": "\xff"}'})
    redis.xadd("json", {"d": '{"n": 2}'})
    source = RedisStreamSource(url=redis_server.url, stream="json", json_field="d", window_rows=1)
    raw, rows = take(source, ctx)
    assert (numbers(rows), raw.ledger.quarantined) == ([1, 2], 1)
    with pytest.raises(MillraceError, match="E_DUP_COLUMN source.time_column: messages have a field of this name"):
        take(RedisStreamSource(url=redis_server.url, stream="any", time_column="n"), ctx)


def test_what_one_recipe_keeps_another_does_not_let_go(stream, ctx):
    from flows.collection import roots

    stream.send(range(15))
    take(stream.source(window_rows=5), ctx)
    take(stream.source(window_rows=5, keep_windows=1, time_column="at"), ctx)
    kept = roots(ctx.store, ctx.tracker, 0).names
    assert len({key for key in ctx.store.files.names("land/parts") if key in kept}) == 3


@pytest.mark.faults
def test_fault_F6_a_stream_is_read_by_a_run_that_is_killed_at_every_event(stream, tally, tmp_path):
    """F6-stream: each message counts once, whenever the run is killed, while more messages come in."""
    from components.adapters.compute import Compute
    from components.context import open_context
    from components.contracts.placement import Placement

    def context(folder):
        made = open_context(Placement(home=folder), "test")
        made.compute = Compute(workers=1, synchronous=True)
        return made

    name = stream.name
    with tally(f"F6-{stream.source().kind}") as count:
        for number in range(1, 200):
            stream.name = f"{name}-{number}"
            stream.send(range(12))
            home, source = tmp_path / str(number), stream.source(window_rows=6)
            events = [(type(source), "acknowledge")]
            if not killed_at(number, lambda home=home, source=source: take(source, context(home)), events):
                break
            count.injected += 1
            count.hit += 1
            stream.send([12])
            _, rows = take(source, context(home))
            count.holds(lambda rows=rows: _as_sent(rows, stream.told()))
        assert 20 < number < 199


def _as_sent(rows, told):
    assert numbers(rows) == list(range(13))
    assert told == 13

"""Streams: windows, what is remembered of them, and what the stream is told. Kafka is librdkafka's mock cluster."""

import json
import time

import pytest

from components import ingest, validate
from components.adapters.snapshot_rows import read_rows
from components.contracts.errors import MillraceError
from components.contracts.spec import OWN_COLUMNS
from components.sources.kafka import KafkaSource
from components.sources.redis_stream import RedisStreamSource
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck
from tests.streams import PASSWORD, Kafka, RefusingBroker

INT = ValidateConfig(columns={"n": ColumnCheck(type="int64")}, max_bad_fraction=1)
DEAD = "127.0.0.1:9"


def take(source, ctx, checks=INT):
    raw = ingest.run(ingest.IngestConfig(source=source, columns=checks.declared()), ctx=ctx)
    valid = validate.run(checks, raw, ctx=ctx)
    rows = [read_rows(ctx.store, "validate", part.key).drop(list(OWN_COLUMNS)).to_pylist() for part in valid.parts]
    return raw, [row for part in rows for row in part]


def numbers(rows):
    return [row["n"] for row in rows]


def test_each_run_reads_what_is_new_and_tells_the_stream_afterwards(stream, ctx):
    stream.send(range(25))
    source = stream.source(window_rows=10)
    raw, rows = take(source, ctx)
    assert numbers(rows) == list(range(25))
    assert [part.rows for part in raw.parts] == [10, 10, 5]
    before = {part.key for part in raw.parts}
    assert stream.told() == 25
    ctx.outcomes.clear()
    take(source, ctx)
    assert all(one.reused for one in ctx.outcomes)
    stream.send(range(25, 32))
    raw, rows = take(source, ctx)
    assert numbers(rows) == list(range(32))
    assert [part.rows for part in raw.parts] == [10, 10, 5, 7]
    assert before < {part.key for part in raw.parts}


def test_windows_wait_until_they_are_full(stream, ctx):
    stream.send(range(25))
    source = stream.source(window_rows=10, wait_for_full=True)
    assert numbers(take(source, ctx)[1]) == list(range(20))
    stream.send(range(25, 31))
    assert numbers(take(source, ctx)[1]) == list(range(30))


def test_windows_by_time_close_when_their_time_is_over(stream, ctx):
    minute = 60_000
    now = int(time.time() * 1000) // minute * minute
    times = [now - 3 * minute, now - 3 * minute + 59_999, now - 2 * minute, now - minute, now - minute + 5, now + 30]
    stream.send(range(5), times[:5])
    stream.send([5], [max(times[5], int(time.time() * 1000))])
    raw, rows = take(stream.source(window_seconds=60, time_column="at"), ctx)
    assert numbers(rows) == [0, 1, 2, 3, 4]
    assert [part.rows for part in raw.parts] == [2, 1, 2]
    assert [int(row["at"].timestamp() * 1000) for row in rows] == times[:5]


def test_only_the_newest_windows_or_only_new_messages(stream, ctx):
    stream.send(range(30))
    assert numbers(take(stream.source(window_rows=10, keep_windows=2), ctx)[1]) == list(range(10, 30))
    latest = stream.source(start="latest", generation=2)
    with pytest.raises(MillraceError, match="E_NO_ROWS"):
        take(latest, ctx)
    stream.send([30])
    assert numbers(take(latest, ctx)[1]) == [30]
    assert numbers(take(stream.source(start="group", generation=3, group="other"), ctx)[1]) == list(range(31))


def test_a_group_says_where_to_begin(stream, ctx):
    stream.send(range(10))
    take(stream.source(), ctx)
    stream.send(range(10, 15))
    assert numbers(take(stream.source(start="group", generation=2), ctx)[1]) == list(range(10, 15))


def test_what_was_read_once_is_never_asked_for_again(stream, ctx, monkeypatch):
    """Another release, or other columns, read the raw messages that were kept, not the stream."""
    stream.send(range(10))
    source = stream.source()
    take(source, ctx)
    monkeypatch.setattr(type(source), "messages", None)
    text = ValidateConfig(columns={"n": ColumnCheck(type="float64")})
    assert numbers(take(source, ctx, text)[1]) == [float(one) for one in range(10)]


def test_garbage_collection_keeps_what_a_stream_may_have_forgotten(stream, ctx):
    from flows.collection import roots

    stream.send(range(10))
    take(stream.source(window_rows=5), ctx)
    kept = roots(ctx.store, ctx.tracker, 0).names
    assert len({key for key in ctx.store.files.names("land/parts") if key in kept}) == 2


@pytest.mark.bad_input
def test_bad_input_B35_a_stream_that_was_made_anew_or_forgot(stream, ctx):
    stream.send(range(10))
    source = stream.source()
    take(source, ctx)
    name, ends = ("0", [0, 500, 500, 0]) if isinstance(stream, Kafka) else ("", ["0-0", "9999999999999-0", 5, 5])
    with pytest.raises(MillraceError, match=r"E_SOURCE_CHANGED .*made anew; raise source.generation"):
        source.advanced({name: [ends]})
    if isinstance(stream, Kafka):
        lost = {"log": "0", "low": 500, "high": 510, "count": 10}
    else:
        windows = source.advanced({})
        stream.client.xtrim(stream.name, maxlen=4, approximate=False)
        _, (low, high, count, _) = windows[""]
        lost = {"log": "", "low": low, "high": high, "count": count}
    with pytest.raises(MillraceError, match=r"E_SOURCE_CHANGED .*source.generation"):
        source.messages(lost)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"kind": "kafka", "servers": DEAD}, f"E_SOURCE_CONNECT source.servers: the broker does not answer .*{DEAD}"),
        ({"kind": "kafka", "topic": "no such"}, "E_SOURCE_EMPTY source.topic: there is no such topic"),
        ({"kind": "redis", "url": f"redis://{DEAD}/0"}, "E_SOURCE_CONNECT source.url: the server does not answer"),
        ({"kind": "redis", "stream": "no such"}, "E_SOURCE_EMPTY source.stream: there is no such stream"),
        (
            {"kind": "redis", "user": "reader", "password": "secret://wrong"},
            "E_CREDENTIALS source.url: the server refuses these credentials",
        ),
    ],
)
def test_bad_input_B37_streams_that_cannot_be_reached(broker, redis, redis_server, ctx, monkeypatch, fields, expected):
    from components.adapters import kafka
    from components.adapters import redis as adapter

    monkeypatch.setattr(kafka, "SECONDS", 1)
    monkeypatch.setattr(adapter, "SECONDS", 0.5)
    monkeypatch.setenv("MILLRACE_SECRET_WRONG", "hunter2")
    broker.send("here", [b"{}"])
    redis.xadd("here", {"n": 1})
    made = {
        "kafka": lambda more: KafkaSource(**{"servers": broker.servers, "topic": "here"} | more),
        "redis": lambda more: RedisStreamSource(**{"url": redis_server.url, "stream": "here"} | more),
    }[fields["kind"]]({name: value for name, value in fields.items() if name != "kind"})
    with pytest.raises(MillraceError, match=expected) as caught:
        take(made, ctx)
    assert "hunter2" not in str(caught.value)


@pytest.mark.bad_input
def test_bad_input_B37_a_broker_that_knows_no_such_login(ctx, monkeypatch):
    """The client really logs in, and is told no; its password was sent, and is nowhere else."""
    from components.adapters import kafka

    monkeypatch.setattr(kafka, "SECONDS", 3)
    monkeypatch.setenv("MILLRACE_SECRET_WRONG", PASSWORD)
    broker = RefusingBroker()
    source = KafkaSource(
        servers=broker.servers, topic="t", security="sasl_plaintext", mechanism="PLAIN", user="u",
        password="secret://wrong",
    )  # fmt: skip
    try:
        with pytest.raises(MillraceError, match="E_CREDENTIALS source.servers: the broker refuses") as caught:
            take(source, ctx)
    finally:
        broker.stop()
    assert PASSWORD not in caught.value.line()
    assert any(PASSWORD.encode() in request for key, request in broker.asked if key == broker.AUTHENTICATE)
    assert not [
        path for path in ctx.placement.home.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]


def test_a_user_who_may_only_read_is_enough_and_its_password_is_nowhere(redis, redis_server, ctx, monkeypatch):
    monkeypatch.setenv("MILLRACE_SECRET_READER", PASSWORD)
    redis.xadd("s", {"n": 1})
    source = RedisStreamSource(url=redis_server.url, stream="s", user="reader", password="secret://reader")
    assert numbers(take(source, ctx)[1]) == [1]
    assert not [
        path for path in ctx.placement.home.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]
    for kind, field in ((RedisStreamSource, "url"), (KafkaSource, "servers")):
        with pytest.raises(ValueError, match="pattern"):
            kind(**{field: "redis://user:hunter2@host", "topic": "t", "stream": "s"})


def test_messages_that_are_no_rows_are_set_aside_with_their_offset(broker, ctx):
    values = [
        b'{"n": 1}',
        b"",
        b"nonsense",
        b'{"n": 2, "n": 3}',
        b'{"n": 9223372036854775808}',
        b'{"n":\n4}',
        None,
        b"\xff",
    ]
    broker.send("odd", values[:5])
    broker.send("odd", values[5:7])
    raw, rows = take(KafkaSource(servers=broker.servers, topic="odd"), ctx)
    assert numbers(rows) == [1, 4]
    (part,) = raw.parts
    record = ctx.store.part("ingest", part.key).standing()
    lines = [json.loads(line) for line in ctx.store.open(record, "quarantine.jsonl").read_text().splitlines()]
    assert [(line["place"], line["code"]) for line in lines] == [
        ("odd[0]:1", "E_NOT_JSON"),
        ("odd[0]:2", "E_NOT_JSON"),
        ("odd[0]:3", "E_DUP_KEY"),
        ("odd[0]:4", "E_OUT_OF_RANGE"),
        ("odd[0]:6", "E_NOT_JSON"),
    ]
    assert raw.ledger.added == 7


def test_keys_nested_values_and_partitions_of_a_topic(broker, ctx):
    values = [json.dumps({"a": {"b": one}, "text": f"t{one}"}).encode() for one in range(40)]
    broker.send("deep", values, partitions=4)
    source = KafkaSource(servers=broker.servers, topic="deep", fields={"n": "a.b", "t": "text", "none": "x"})
    raw, rows = take(source, ctx)
    assert len(raw.parts) == 4
    assert sorted(numbers(rows)) == list(range(40))
    assert all(row == {"n": row["n"], "t": f"t{row['n']}", "none": None} for row in rows)
    assert broker.committed("deep", "millrace", 4) == [10, 10, 10, 10]
    broker.send("plain", [b"one", None], keys=[b"k", None])
    _, rows = take(KafkaSource(servers=broker.servers, topic="plain", json_field=""), ctx, ValidateConfig())
    assert rows == [{"key": "k", "value": "one"}, {"key": None, "value": None}]

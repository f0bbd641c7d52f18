"""Redis keys, by a real server."""

import json

import pytest

from components.adapters import redis as adapter
from components.contracts.errors import MillraceError
from components.sources.redis_keys import RedisSource
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck
from tests.sources.test_streams import take
from tests.streams import PASSWORD


def sorted_rows(rows):
    return sorted(rows, key=lambda row: int(row["key"].partition(":")[2]))


def test_hashes_are_rows_read_in_parts(redis, redis_server, ctx):
    for one in range(700):
        redis.hset(f"user:{one}", mapping={"n": one, "name": f"ü{one}"})
    redis.set("other:1", "x")
    source = RedisSource(url=redis_server.url, pattern="user:*", keys_per_partition=100)
    checks = ValidateConfig(columns={"n": ColumnCheck(type="int64")})
    raw, rows = take(source, ctx, checks)
    assert len(raw.parts) == 8
    assert sorted_rows(rows) == [{"key": f"user:{one}", "n": one, "name": f"ü{one}"} for one in range(700)]
    ctx.outcomes.clear()
    again, _ = take(source, ctx, checks)
    assert again.content == raw.content
    assert [one.reused for one in ctx.outcomes] == [False, True]


def test_texts_that_hold_json(redis, redis_server, ctx):
    for one in range(10):
        redis.set(f"doc:{one}", json.dumps({"a": {"b": one}, "c": None if one % 2 else "x"}, indent=1))
    source = RedisSource(url=redis_server.url, pattern="doc:*", type="json", fields={"n": "a.b", "c": "c"})
    _, rows = take(source, ctx, ValidateConfig())
    assert sorted_rows(rows) == [{"key": f"doc:{one}", "n": one, "c": None if one % 2 else "x"} for one in range(10)]


@pytest.mark.bad_input
def test_bad_input_B40_keys_of_another_kind_and_what_is_no_text(redis, redis_server, ctx):
    for one in range(3):
        redis.hset(f"k:{one}", mapping={"n": one})
    redis.rpush("k:list", "x")
    redis.hset("k:3", mapping={"n": b"\xff"})
    source = RedisSource(url=redis_server.url, pattern="k:*")
    raw, rows = take(source, ctx, ValidateConfig(max_bad_fraction=1))
    assert [row["n"] for row in sorted_rows(rows)] == ["0", "1", "2"]
    assert raw.ledger.quarantined == 2
    record = ctx.store.part("ingest", raw.parts[0].key).standing()
    lines = [json.loads(line) for line in ctx.store.open(record, "quarantine.jsonl").read_text().splitlines()]
    assert sorted((line["code"], line["reason"], line["value"]) for line in lines) == [
        ("E_ENCODING", "a field is not UTF-8 at byte 0", "'k:3'"),
        ("E_TYPE", "this key holds a list", "'k:list'"),
    ]
    kept = ValidateConfig(columns={"n": ColumnCheck(type="binary")}, max_bad_fraction=1)
    assert {row["n"] for row in take(source, ctx, kept)[1]} == {b"0", b"1", b"2", b"\xff"}
    with pytest.raises(MillraceError, match="E_DUP_COLUMN source.key_column: a field has the name"):
        take(source.model_copy(update={"key_column": "n"}), ctx, ValidateConfig())


def test_a_key_that_expires_between_is_no_row(redis, redis_server, tmp_path):
    for one in range(3):
        redis.hset(f"k:{one}", mapping={"n": one})
    source = RedisSource(url=redis_server.url, pattern="k:*")
    (piece,) = source.partitions(None, tmp_path)
    redis.delete("k:1")
    rows = source.read(piece)
    assert rows.table.to_pydict() == {"key": ["k:0", "k:2"], "n": ["0", "2"]}
    assert not rows.bad


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"url": "redis://127.0.0.1:9/0"}, "E_SOURCE_CONNECT source.url: the server does not answer"),
        ({"user": "reader", "password": "secret://wrong"}, "E_CREDENTIALS source.url: the server refuses"),
        ({"url": "redis://user:hunter2@host"}, "pattern"),
        ({"password": "hunter2"}, "pattern"),
    ],
)
def test_bad_input_B37_keys_that_cannot_be_reached(redis, redis_server, ctx, monkeypatch, fields, expected):
    monkeypatch.setattr(adapter, "SECONDS", 0.5)
    monkeypatch.setenv("MILLRACE_SECRET_WRONG", "hunter2")
    with pytest.raises((MillraceError, ValueError), match=expected) as caught:
        take(RedisSource(**{"url": redis_server.url} | fields), ctx, ValidateConfig())
    if isinstance(caught.value, MillraceError):
        assert "hunter2" not in str(caught.value)


def test_a_reading_user_is_enough_and_its_password_is_nowhere(redis, redis_server, ctx, monkeypatch):
    monkeypatch.setenv("MILLRACE_SECRET_READER", PASSWORD)
    redis.hset("k:1", mapping={"n": 1})
    source = RedisSource(url=redis_server.url, user="reader", password="secret://reader")
    _, rows = take(source, ctx, ValidateConfig())
    assert rows == [{"key": "k:1", "n": "1"}]
    files = [path for path in ctx.placement.home.rglob("*") if path.is_file()]
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]


def test_parts_without_a_key_empty_texts_and_broken_ones(redis, redis_server, ctx):
    for one in range(20):
        redis.set(f"other:{one}", "x")
    redis.hset("h:1", mapping={"n": 1})
    redis.hset("h:2", mapping={"n": 2})
    raw, rows = take(RedisSource(url=redis_server.url, pattern="h:*", keys_per_partition=5), ctx, ValidateConfig())
    assert sorted(row["n"] for row in rows) == ["1", "2"]
    for key, text in (("d:1", '{"a": 1}'), ("d:2", ""), ("d:3", "{"), ("d:4", b'{"a": "\xff"}')):
        redis.set(key, text)
    source = RedisSource(url=redis_server.url, pattern="d:*", type="json")
    raw, rows = take(source, ctx, ValidateConfig(max_bad_fraction=1))
    assert [row["a"] for row in rows] == [1]
    assert raw.ledger.quarantined == 3
    with pytest.raises(MillraceError, match="E_NO_ROWS"):
        take(RedisSource(url=redis_server.url, pattern="none:*"), ctx, ValidateConfig())


@pytest.mark.parametrize("url", ["redis://h/0?password=x", "redis://h:abc/0", "redis://h/prod", "redis://u@h/0"])
def test_an_address_holds_a_host_a_port_and_a_database(url):
    with pytest.raises(ValueError, match="pattern"):
        RedisSource(url=url)

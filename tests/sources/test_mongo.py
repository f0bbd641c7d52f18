"""MongoDB, by mongomock: the queries are real, the wire is not. No server is in the distribution that tests run on."""

import datetime as dt

import mongomock
import pytest
from bson import Decimal128, ObjectId
from pymongo.errors import AutoReconnect, CursorNotFound

from components import ingest, validate
from components.adapters.snapshot_rows import read_rows
from components.contracts.errors import MillraceError
from components.contracts.spec import OWN_COLUMNS
from components.sources import mongo
from components.sources.mongo import MongoSource
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck

FIELDS = {"number": "_id", "city": "address.city", "n": "n"}


@pytest.fixture
def client(documents):
    return documents


def source(**fields):
    given = {"url": "mongodb://127.0.0.1", "database": "d", "collection": "c", "fields": FIELDS}
    return MongoSource(**(given | fields))


def read(one, ctx, checks=None):
    checks = checks or ValidateConfig()
    raw = ingest.run(ingest.IngestConfig(source=one, columns=checks.declared()), ctx=ctx)
    valid = validate.run(checks, raw, ctx=ctx)
    rows = []
    for part in valid.parts:
        rows += read_rows(ctx.store, "validate", part.key).drop(list(OWN_COLUMNS)).to_pylist()
    return raw, rows


def fill(client, rows):
    client.d.c.insert_many([
        {"_id": one, "address": {"city": f"c{one % 3}"}, "n": one * 2, "changed": 1} for one in rows
    ])


def test_documents_are_flattened_by_a_declared_schema_and_read_in_parts(client, ctx):
    fill(client, range(2500))
    raw, rows = read(source(rows_per_partition=1000), ctx)
    assert len(raw.parts) == 3
    assert rows == [{"number": one, "city": f"c{one % 3}", "n": one * 2} for one in range(2500)]


def test_only_parts_that_changed_are_read_again(client, ctx):
    fill(client, range(300))
    one = source(rows_per_partition=100, watermark="changed")
    first, _ = read(one, ctx)
    ctx.outcomes.clear()
    read(one, ctx)
    assert all(outcome.reused for outcome in ctx.outcomes)
    client.d.c.update_one({"_id": 150}, {"$set": {"n": -1, "changed": 2}})
    second, rows = read(one, ctx)
    assert {row["n"] for row in rows if row["number"] == 150} == {-1}
    assert len({part.key for part in second.parts} - {part.key for part in first.parts}) == 1


def test_a_filter_compares_and_runs_no_code(client, ctx):
    fill(client, range(100))
    assert len(read(source(filter={"n": {"$gte": 100}}), ctx)[1]) == 50
    for wrong in ({"$where": "sleep(1)"}, {"n": {"$function": {}}}, {"$and": [{"$expr": {}}]}):
        with pytest.raises((MillraceError, ValueError), match="E_CONFIG source.filter: a filter only compares"):
            source(filter=wrong)


@pytest.mark.bad_input
def test_bad_input_B40_ids_of_several_types_are_not_passed_over(client, ctx):
    client.d.c.insert_many([{"_id": one, "n": 1} for one in range(30)])
    client.d.c.insert_many([{"_id": ObjectId(f"65a0000000000000000000{one:02}"), "n": 1} for one in range(10, 20)])
    with pytest.raises(MillraceError, match="E_TYPE source.collection: 40 documents, of which pages by _id reach"):
        read(source(fields={"n": "n"}, rows_per_partition=10), ctx)


@pytest.mark.bad_input
def test_bad_input_B40_documents(client, ctx):
    """Nested, lacking, of mixed types, exact decimals, ObjectIds, times; one that cannot be flattened is set aside."""
    when = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    number = ObjectId("65a000000000000000000000")
    client.d.c.insert_many([
        {"_id": number, "a": {"b": [1, 2.5]}, "price": Decimal128("0.10"), "when": when, "tags": ["x", "y"]},
        {"_id": ObjectId("65a000000000000000000001"), "price": Decimal128("12345678901234567890.5")},
        {"_id": ObjectId("65a000000000000000000002"), "a": "no mapping"},
        {"_id": ObjectId("65a000000000000000000003"), "a": {"b": [3.0]}, "more": {"deep": {"er": 1}}},
        {"_id": ObjectId("65a000000000000000000004"), "a": {"b": []}, "more": "x" * 15_000_000},
    ])
    fields = {"id": "_id", "b": "a.b", "price": "price", "when": "when", "tags": "tags", "more": "more"}
    checks = ValidateConfig(
        columns={"price": ColumnCheck(type="string"), "more": ColumnCheck(type="string")}, max_bad_fraction=0.5
    )
    raw, rows = read(source(fields=fields), ctx, checks)
    assert raw.ledger.quarantined == 1
    assert raw.ledger.added == 5
    assert rows[0] == {
        "id": str(number),
        "b": [1.0, 2.5],
        "price": "0.10",
        "when": when,
        "tags": ["x", "y"],
        "more": None,
    }
    assert rows[1]["price"] == "12345678901234567890.5"
    assert rows[2]["more"] == '{"deep": {"er": 1}}'
    assert len(rows[3]["more"]) == 15_000_000
    with pytest.raises(MillraceError, match="E_TYPE_UNSUPPORTED .*price holds exact decimals.*checks.columns.price"):
        read(source(fields={"price": "price"}), ctx)


@pytest.mark.faults
@pytest.mark.parametrize("lost", [CursorNotFound, AutoReconnect])
def test_fault_F22_a_cursor_is_lost_at_every_page(client, ctx, tally, monkeypatch, lost):
    """F22-cursor-lost: the page is asked for again by the last `_id`; nothing is lost or doubled."""
    monkeypatch.setattr(mongo, "PAGE", 50)
    monkeypatch.setattr(mongo.time, "sleep", lambda _: None)
    fill(client, range(1000))
    whole = mongomock.collection.Cursor.limit
    with tally(f"F22-{lost.__name__}") as count:
        for at in range(1, 21):
            seen = 0

            def breaking(self, limit, at=at):
                nonlocal seen
                if limit == 50:
                    seen += 1
                    if seen == at:
                        count.hit += 1
                        raise lost("gone")
                return whole(self, limit)

            count.injected += 1
            with monkeypatch.context() as patch:
                patch.setattr(mongomock.collection.Cursor, "limit", breaking)
                _, rows = read(source(), ctx)
            count.holds(lambda rows=rows: _same(rows, 1000))


def _same(rows, number):
    assert [row["number"] for row in rows] == list(range(number))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"url": "mongodb://user:hunter2@host"}, "pattern"),
        ({"password": "hunter2"}, "pattern"),
        ({"url": "mongodb://127.0.0.1:9"}, "E_SOURCE_CONNECT source.url: the database does not answer"),
    ],
)
def test_bad_input_B37_connections(ctx, monkeypatch, fields, expected):
    from components.adapters import mongo as adapter

    monkeypatch.setattr(adapter, "SECONDS", 0.2)
    with pytest.raises((MillraceError, ValueError), match=expected) as caught:
        read(source(**fields), ctx)
    if isinstance(caught.value, MillraceError):
        assert "hunter2" not in str(caught.value)

"""Databases: what is read is what is there, from one snapshot, in parts; mistakes and secrets."""

import subprocess
import sys
import time

import pytest

from components.contracts.errors import MillraceError
from components.sources.sql import SqlSource
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck
from tests.postgres import PASSWORD
from tests.sources.databases import DIALECTS, Database, ordered, read


@pytest.fixture(params=DIALECTS)
def database(request, tmp_path, server, secret):
    return Database(request.param, tmp_path, server)


def test_a_table_is_read_in_parts_and_whole(database, ctx):
    rows = [(number, f"text {number % 7}", number / 3) for number in range(-1000, 1500)]
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, c VARCHAR(20), x DOUBLE PRECISION)")
    database.many("t", rows)
    raw, found = read(database.source(table="t", rows_per_partition=400), ctx)
    assert len(raw.parts) == 7
    assert max(part.rows for part in raw.parts) <= 400
    assert found == rows, "in the order of the key"
    assert [(one.name, one.type) for one in raw.columns] == [("id", "int64"), ("c", "string"), ("x", "float64")]


def test_rows_with_the_same_key_and_with_none_are_read_in_pages(database, ctx):
    rows = [(7, number) for number in range(900)] + [(None, number) for number in range(950)] + [(8, 1), (9, 2)]
    database.run("CREATE TABLE t (k INTEGER, n INTEGER)")
    database.many("t", rows)
    source = database.source(table="t", key="k", rows_per_partition=200)
    raw, found = read(source, ctx)
    assert ordered(found) == ordered(rows)
    assert max(part.rows for part in raw.parts) <= 2 * 200
    assert [(one.name, one.type) for one in raw.columns] == [("k", "int64"), ("n", "int64")]
    assert len({part.place for part in raw.parts}) == len(raw.parts) > 9
    again, _ = read(source, ctx)
    assert again.content == raw.content


def test_a_query_is_read_in_parts_by_a_key(database, ctx):
    database.run("CREATE TABLE t (a INTEGER, b VARCHAR(20))")
    database.many("t", [(number % 50, f"a:{number}%") for number in range(1000)])
    source = database.source(query="SELECT a, b FROM t WHERE a < 25 AND b LIKE 'a:%'", key="a", rows_per_partition=100)
    raw, found = read(source, ctx)
    assert ordered(found) == ordered([(number % 50, f"a:{number}%") for number in range(1000) if number % 50 < 25])
    assert len(raw.parts) > 3


def test_without_a_watermark_everything_is_read_again_and_equal_parts_stop_the_ripple(database, ctx):
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
    database.many("t", [(number, number) for number in range(100)])
    first, _ = read(database.source(table="t"), ctx)
    ctx.outcomes.clear()
    again, _ = read(database.source(table="t"), ctx)
    assert [one.reused for one in ctx.outcomes] == [False, True], "ingest ran, validate did not"
    assert again.content == first.content


def test_with_a_watermark_only_parts_that_changed_are_read_again(database, ctx):
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, changed INTEGER)")
    database.many("t", [(number, number, 1) for number in range(1000)])
    source = database.source(table="t", watermark="changed", rows_per_partition=100)
    read(source, ctx)
    parts = set(ctx.store.files.root.glob("ingest/parts/*"))
    ctx.outcomes.clear()
    read(source, ctx)
    assert all(one.reused for one in ctx.outcomes)
    database.run("UPDATE t SET n = -1, changed = 2 WHERE id = 555", "INSERT INTO t VALUES (1000, 5, 2)")
    _, rows = read(source, ctx)
    assert (555, -1, 2) in rows
    assert len(rows) == 1001
    assert len(set(ctx.store.files.root.glob("ingest/parts/*")) - parts) <= 3


@pytest.mark.bad_input
def test_bad_input_B37_a_table_or_column_that_is_not_there(database, ctx):
    database.run("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    for fields, expected in (
        ({"table": "order"}, "E_SQL_OBJECT source.table: there is no such table; nearest: orders (got 'order')"),
        ({"table": "orders", "key": "no"}, "E_SQL_OBJECT source.key: there is no such column (got 'no'); allowed: id"),
        ({"query": "SELECT nothing FROM orders"}, "E_SQL_OBJECT source: the database refuses the query"),
    ):
        with pytest.raises(MillraceError) as caught:
            read(database.source(**fields), ctx)
        assert caught.value.line().startswith(expected), caught.value.line()
        assert caught.value.exit_code == 2


@pytest.mark.bad_input
def test_bad_input_B37_two_columns_of_one_name(server, secret, tmp_path, ctx):
    """PostgreSQL gives both their name; the others number them."""
    database = Database("postgresql", tmp_path, server)
    database.run("CREATE TABLE orders (id integer PRIMARY KEY)", "INSERT INTO orders VALUES (1)")
    with pytest.raises(MillraceError, match="E_DUP_COLUMN source.query: two columns have this name"):
        read(database.source(query="SELECT a.id, b.id FROM orders a, orders b"), ctx)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"password": "secret://wrong"}, "E_CREDENTIALS source.url: the database refuses these credentials"),
        ({"password": "secret://unknown"}, "E_CREDENTIALS source.password: nobody says what secret://unknown is"),
        ({"user": "nobody_there"}, "E_CREDENTIALS source.url"),
        ({"url": "postgresql://127.0.0.1:9/postgres"}, "E_SOURCE_CONNECT source.url: the database does not answer"),
        ({"url": "{url}?sslmode=require"}, "E_SOURCE_CONNECT source.url: the database does not answer"),
        ({"url": "postgresql://h:port/db"}, "E_SOURCE_CONNECT source.url: this is no database address"),
        ({"url": "nosuch://x/y"}, "E_SOURCE_CONNECT source.url: this is no database address"),
    ],
)
def test_bad_input_B37_connections(server, secret, ctx, monkeypatch, fields, expected):
    wrong = "wr0ng-Pa55word"
    monkeypatch.setenv("MILLRACE_SECRET_WRONG", wrong)
    given = {"url": server.url, "user": "reader", "password": "secret://pg", "table": "t"} | fields
    given["url"] = given["url"].format(url=server.url)
    with pytest.raises(MillraceError) as caught:
        read(SqlSource(**given), ctx)
    said = caught.value.line()
    assert said.startswith(expected), said
    assert PASSWORD not in said
    assert wrong not in said
    assert PASSWORD not in repr(caught.value.__context__) + repr(caught.value.__cause__)


READING = [
    "SELECT 1",
    "select a, 'it''s; DROP TABLE t --' AS b from t",
    'WITH x AS (SELECT "update" FROM t) SELECT * FROM x',
    "SELECT updated_at, set_name FROM t",
    r"SELECT a FROM t WHERE b ~ '^\d+[a-z]$' AND c = 'C:\x'",
    "SELECT ARRAY['a', 'b'], d[1], `odd-name` FROM t",
    "SELECT [odd name] FROM t",
]
HIDING = [
    r"SELECT E'\'', 1 INTO t2 FROM t WHERE 'x'='x'",
    r"SELECT E'\'') AS a; COMMIT; DROP TABLE t; SELECT * FROM (SELECT 'x' AS b",
    r"""SELECT "\") AS a; DROP TABLE t; SELECT * FROM (SELECT "x" AS b""",
    "SELECT ARRAY['a]']) AS a; DROP TABLE t; SELECT * FROM (SELECT ARRAY['x'] AS b",
    "SELECT 1 AS [a') AS a; DROP TABLE t; SELECT * FROM (SELECT 'x' AS b]",
    "SELECT ARRAY[1--]'\n2]) AS a; DROP TABLE t; --'",
    "SELECT `'`) AS a; DROP TABLE t; SELECT * FROM (SELECT '`' AS b",
    "SELECT 'open",
    "SELECT a[1",
]
"""What one database takes for text and another for commands."""
WRITING = [
    *HIDING,
    "DROP TABLE t",
    "SELECT 1; DROP TABLE t",
    "SELECT 1;",
    "SELECT 1 -- and more",
    "SELECT /* hidden */ 1",
    "SELECT /*! 1 */ 1",
    "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
    "SELECT * INTO other FROM t",
    "INSERT INTO t VALUES (1)",
    "UPDATE t SET a = 1",
    "PRAGMA writable_schema = 1",
    "ATTACH 'other.db' AS other",
    "COPY t TO '/tmp/x'",
    "CALL p()",
    "SELECT $$;$$",
    "SELECT ';' FROM t; DELETE FROM t",
    "",
    "   ",
    "EXPLAIN SELECT 1",
]


@pytest.mark.bad_input
@pytest.mark.parametrize("query", WRITING)
def test_bad_input_B38_what_is_not_one_select_is_refused_before_it_is_sent(query):
    with pytest.raises(
        (MillraceError, ValueError), match="E_SQL_NOT_READ_ONLY source.query|name a table or write a query"
    ):
        SqlSource(url="sqlite:////nowhere.db", query=query)


@pytest.mark.bad_input
def test_bad_input_B38_a_server_takes_no_second_statement_even_where_the_text_was_not_looked_at(
    server, secret, ctx, tmp_path
):
    database = Database("postgresql", tmp_path, server)
    database.run("CREATE TABLE t (id INTEGER)", "INSERT INTO t VALUES (1)")
    unseen = database.source(query="SELECT 1").model_copy(update={"query": HIDING[1]})
    with pytest.raises(MillraceError, match="multiple commands"):
        read(unseen, ctx)
    assert read(database.source(table="t"), ctx)[1] == [(1,)]


@pytest.mark.parametrize("query", READING)
def test_one_select_is_taken(query):
    assert SqlSource(url="sqlite:////nowhere.db", query=query).query == query


@pytest.mark.bad_input
def test_bad_input_B38_a_statement_that_takes_too_long_is_ended(server, secret, ctx, tmp_path):
    database = Database("postgresql", tmp_path, server)
    source = database.source(query="SELECT 1 AS n, pg_sleep(30) AS s", statement_minutes=0.01)
    began = time.monotonic()
    with pytest.raises(MillraceError, match=r"E_SOURCE_CONNECT .* longer than source.statement_minutes"):
        read(source, ctx)
    assert time.monotonic() - began < 20


@pytest.mark.bad_input
def test_bad_input_B38_the_transaction_is_read_only_besides(database, ctx):
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    from components.adapters.databases import snapshot

    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    source = database.source(table="t")
    with pytest.raises((DBAPIError, MillraceError)), snapshot(source._engine(), source.url) as connection:
        connection.execute(text("DELETE FROM t"))
        connection.commit()
    assert read(source, ctx)[1] == [(1,)]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("kind", "value", "declared", "expected"),
    [
        ("integer[]", "ARRAY[1, 2]", None, [1.0, 2.0]),
        ("text[]", "ARRAY['a', NULL]", None, ["a", None]),
        ("interval", "interval '1 day'", None, "E_TYPE_UNSUPPORTED"),
        ("time", "time '10:00'", None, "E_TYPE_UNSUPPORTED"),
        ("bytea", r"'\x00ff'::bytea", None, b"\x00\xff"),
        ("numeric(38, 10)", "1234567890123456789012345678.0123456789", None, "E_TYPE_UNSUPPORTED"),
        (
            "numeric(38, 10)",
            "1234567890123456789012345678.0123456789",
            "string",
            "1234567890123456789012345678.0123456789",
        ),
        ("numeric(38, 10)", "0.5", "float64", 0.5),
        ("uuid", "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid", None, "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("jsonb", """'{"a": 1}'::jsonb""", None, '{"a": 1}'),
        ("timestamptz", "timestamptz '2024-01-01 10:00+02'", None, "2024-01-01 08:00:00+00:00"),
        ("timestamp", "timestamp '2024-01-01 10:00'", None, "E_TZ"),
        ("boolean", "true", None, True),
        ("date", "date '2024-02-29'", None, "2024-02-29"),
        ("int4range", "int4range(1, 3)", None, "E_TYPE"),
    ],
)
def test_bad_input_B39_types(server, secret, tmp_path, ctx, kind, value, declared, expected):
    database = Database("postgresql", tmp_path, server)
    database.run(f"CREATE TABLE t (id integer PRIMARY KEY, v {kind})", f"INSERT INTO t VALUES (1, {value}), (2, NULL)")
    checks = ValidateConfig(columns={"v": ColumnCheck(type=declared)} if declared else {})
    if isinstance(expected, str) and expected.startswith("E_"):
        with pytest.raises(MillraceError, match=f"{expected}.*v") as caught:
            read(database.source(table="t"), ctx, checks)
        assert "checks.columns.v" in caught.value.line()
        return
    _, rows = read(database.source(table="t"), ctx, checks)
    found = rows[0][1]
    assert (found if isinstance(found, (list, bytes, bool, float)) else str(found)) == expected
    assert rows[1] == (2, None)


def test_no_secret_is_ever_written_down(server, secret, tmp_path, ctx, monkeypatch):
    """The canary: in no file of the home, in no config, and not in what a process of ours shows."""
    database = Database("postgresql", tmp_path, server)
    database.run("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    source = database.source(table="t", watermark="id")
    read(source, ctx)
    text = str(source) + repr(source) + source.model_dump_json()
    assert PASSWORD not in text
    found = subprocess.run(
        ["grep", "-rlF", PASSWORD, str(ctx.placement.home)], capture_output=True, text=True, check=False
    ).stdout
    assert found == ""
    assert PASSWORD not in " ".join(sys.argv)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"password": "hunter2"}, "password"),
        ({"url": "postgresql://user:hunter2@host/db"}, "E_SECRET_INLINE source.url: the address holds a login"),
    ],
)
def test_bad_input_B45_a_password_in_a_source(fields, expected):
    with pytest.raises((MillraceError, ValueError), match=expected):
        SqlSource(**({"url": "sqlite:////x.db", "table": "t"} | fields))

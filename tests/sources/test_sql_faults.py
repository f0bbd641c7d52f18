"""F18 to F20: a database that dies, that is written to, and whose keys are odd."""

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.contracts.errors import MillraceError
from components.sources.sql import SqlSource
from tests.sources.databases import DIALECTS, Database, ordered, read


@pytest.mark.faults
def test_fault_F18_the_server_dies_in_the_middle_of_a_read(server, secret, tmp_path, ctx, tally, monkeypatch):
    """F18-postgres-killed: one line, nothing half-committed; the next run reads what the first did not, and all is there.

    What was read is known again by its watermark.
    """
    database = Database("postgresql", tmp_path, server)
    database.run(
        "CREATE TABLE t (id integer PRIMARY KEY, n integer, seen integer)",
        "INSERT INTO t SELECT g, g * 2, 0 FROM generate_series(1, 5000) g",
    )
    source = database.source(table="t", rows_per_partition=500, watermark="seen")
    whole, asked = SqlSource._rows, []

    def killing(left):
        def rows(self, connection, argument, place):
            nonlocal left
            left -= 1
            asked.append(place)
            if left == 0:
                server.kill()
            return whole(self, connection, argument, place)

        return rows

    def parts():
        return set(ctx.store.files.root.glob("ingest/parts/*"))

    with tally("F18-postgres-killed") as count:
        for kill_at in range(1, 11):
            count.injected += 1
            database.run(f"UPDATE t SET seen = {kill_at}")
            before = parts()
            with monkeypatch.context() as patch:
                patch.setattr(SqlSource, "_rows", killing(kill_at))
                try:
                    read(source, ctx)
                except MillraceError as error:
                    count.hit += 1
                    count.holds(lambda error=error: _is(error.code == "E_SOURCE_CONNECT", error.line()))
            standing = len([one for one in parts() - before if any(one.glob("part.json"))])
            server.start()
            with monkeypatch.context() as patch:
                asked.clear()
                patch.setattr(SqlSource, "_rows", killing(0))
                _, rows = read(source, ctx)
            count.holds(lambda rows=rows, at=kill_at: _is(rows == [(g, g * 2, at) for g in range(1, 5001)], "rows"))
            count.holds(
                lambda left=len(asked), standing=standing: _is(left == 10 - standing, f"{left}, {standing} stand")
            )


def _is(holds, what):
    assert holds, what


@pytest.mark.faults
def test_fault_F19_writes_during_a_partitioned_read(server, secret, tmp_path, ctx, tally):
    """F19-concurrent-writes: transfers keep the sum at zero; every read sees one moment of them."""
    database = Database("postgresql", tmp_path, server)
    database.run(
        "CREATE TABLE t (id integer PRIMARY KEY, n integer)",
        "INSERT INTO t SELECT g, 0 FROM generate_series(1, 2000) g",
    )
    stop = threading.Event()
    moves = []

    def transfers():
        import random

        draw = random.Random(0)
        with server.connect() as connection:
            while not stop.is_set():
                one, other = draw.sample(range(1, 2001), 2)
                with connection.transaction():
                    connection.execute("UPDATE t SET n = n - 1 WHERE id = %s", (one,))
                    connection.execute("UPDATE t SET n = n + 1 WHERE id = %s", (other,))
                moves.append(one)

    writer = threading.Thread(target=transfers)
    writer.start()
    try:
        with tally("F19-concurrent-writes") as count:
            for _ in range(10):
                before = len(moves)
                _, rows = read(database.source(table="t", rows_per_partition=100), ctx)
                count.injected += 1
                count.hit += len(moves) > before
                count.holds(lambda rows=rows: _is(sum(n for _, n in rows) == 0 and len(rows) == 2000, "one snapshot"))
    finally:
        stop.set()
        writer.join()


@pytest.mark.faults
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", ["INTEGER", "VARCHAR(20)"])
def test_fault_F20_odd_keys(dialect, kind, server, secret, tmp_path_factory, tally):
    """F20-odd-keys: missing, repeated, negative and text keys; every row comes once."""
    from components.adapters.compute import Compute
    from components.context import open_context
    from components.contracts.placement import Placement

    keys = st.integers(-5, 5) if kind == "INTEGER" else st.text("aB é'%:", max_size=3)
    with tally(f"F20-odd-keys-{dialect}-{kind[:3]}") as count:

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(st.lists(st.one_of(st.none(), keys), min_size=1, max_size=40), st.integers(1, 7))
        def holds(found, size):
            folder = tmp_path_factory.mktemp("odd")
            database = Database(dialect, folder, server)
            database.run(f"CREATE TABLE t (k {kind}, n INTEGER)")
            rows = [(key, number) for number, key in enumerate(found)]
            database.many("t", rows)
            ctx = open_context(Placement(home=folder / "home"), "test")
            ctx.compute = Compute(workers=1, synchronous=True)
            count.injected += 1
            count.hit += 1
            source = database.source(table="t", key="k", rows_per_partition=size)
            count.holds(lambda: _is(ordered(read(source, ctx)[1]) == ordered(rows), "every row once"))

        holds()

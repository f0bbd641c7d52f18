"""Databases of three dialects for tests, and what is read from them."""

import sqlite3

from components import ingest, validate
from components.adapters.snapshot_rows import read_rows
from components.contracts.spec import OWN_COLUMNS
from components.sources.sql import SqlSource
from components.validate import ValidateConfig

DIALECTS = ["sqlite", "duckdb", "postgresql"]


class Database:
    """One empty database of a dialect: `run` statements, then ask for a `source`."""

    def __init__(self, dialect, folder, server):
        self.dialect, self.server = dialect, server
        self.path = folder / f"data.{dialect}"
        if dialect == "postgresql":
            self.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def run(self, *statements):
        if self.dialect == "postgresql":
            with self.server.connect() as connection:
                return [connection.execute(one) for one in statements][-1]
        if self.dialect == "sqlite":
            with sqlite3.connect(self.path) as connection:
                rows = [connection.execute(one) for one in statements][-1].fetchall()
            connection.close()
            return rows
        import duckdb

        with duckdb.connect(str(self.path)) as connection:
            return [connection.execute(one) for one in statements][-1].fetchall()

    def many(self, table, rows):
        """Insert `rows`, tuples of whole numbers and text."""
        for start in range(0, len(rows), 500):
            values = ", ".join("(" + ", ".join(map(literal, row)) + ")" for row in rows[start : start + 500])
            self.run(f"INSERT INTO {table} VALUES {values}")

    def source(self, **fields):
        if self.dialect == "postgresql":
            fields = {"user": "reader", "password": "secret://pg"} | fields
            return SqlSource(url=self.server.url, **fields)
        return SqlSource(url=f"{self.dialect}:///{self.path}", **fields)


def literal(value):
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, (int, float)) else "'" + value.replace("'", "''") + "'"


def read(source, ctx, checks=None):
    checks = checks or ValidateConfig()
    raw = ingest.run(ingest.IngestConfig(source=source, columns=checks.declared()), ctx=ctx)
    valid = validate.run(checks, raw, ctx=ctx)
    rows = []
    for part in valid.parts:
        rows += [
            tuple(row.values())
            for row in read_rows(ctx.store, "validate", part.key).drop(list(OWN_COLUMNS)).to_pylist()
        ]
    return raw, rows


def ordered(rows):
    return sorted(rows, key=repr)

"""A table or a query of a relational database, read in parts from one snapshot, every row counted.

Any dialect that SQLAlchemy has. On PostgreSQL workers join one exported snapshot; elsewhere one connection reads one
part after another inside one transaction. Parts are ranges of `key`; rows where it is missing are a part of their own.
What a database holds cannot be told without reading it, unless `watermark` names a column that rises with every change:
then parts whose count and watermark are as before are not read again, nor is an unchanged table.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, PrivateAttr, field_validator, model_validator

from components.adapters.databases import engine, exported, faults, primary_key, snapshot, tables
from components.adapters.secrets import REFERENCE, secret
from components.contracts.config import placed
from components.contracts.errors import ConfigError, DataError
from components.contracts.fingerprint import digest
from components.contracts.registry import nearest
from components.contracts.spec import Column
from components.sources.declared import DeclaredSource
from components.sources.partition import DigestOf, Partition, Rows
from components.sources.python_cells import column, sampled
from components.sources.sql_ranges import NUMBER, Bounds
from components.sources.sql_text import check_read_only


@dataclass(kw_only=True)
class Session:
    """One read-only transaction of this process, used by one thread at a time."""

    connection: Any
    share: str
    lock: Any


SAMPLE = 1000
SESSIONS: dict[str, Session] = {}
"""By a name of their own: a partition carries the name, and not the connection."""


class SqlSource(DeclaredSource):
    """Rows of a relational database."""

    kind: Literal["sql"] = "sql"
    url: str = placed(description="dialect://host:port/database, sqlite:////path.db, duckdb:////path.db; no password")
    user: str = placed("", description="the user's name; a role that may only read is enough")
    password: str = placed("", pattern=REFERENCE, description="secret://name")
    database_name: str = Field("", description="tells databases apart whose addresses change; none: the one in the url")
    table: str = Field("", description="the table or view; or a query instead")
    schema_name: str = Field("", description="the table's schema; none: the default one")
    query: str = Field("", description="one SELECT without comments")
    key: str = Field("", description="column by whose ranges parts are read; none: the primary key's first")
    watermark: str = Field("", description="column that rises with every insert and update, such as updated_at")
    rows_per_partition: int = Field(100_000, ge=1, description="rows that one task reads; bounds its memory")

    statement_minutes: float = placed(60.0, gt=0, description="PostgreSQL ends a statement that takes longer")

    _session: str = PrivateAttr("")

    @field_validator("query")
    @classmethod
    def _reads_only(cls, query: str) -> str:
        if query:
            check_read_only(query, "source.query")
        return query

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.table) == bool(self.query):
            raise ValueError("name a table or write a query, one of the two")
        if "@" in self.url.partition("?")[0].partition("://")[2].partition("/")[0]:
            raise ConfigError(
                "E_SECRET_INLINE",
                "the address holds a login",
                place="source.url",
                action="put the name into source.user and secret://name into source.password",
            )
        return self

    def columns(self) -> tuple[Column, ...]:
        """None: only the database knows them."""
        return ()

    def version(self, digest_of: DigestOf) -> str:
        """Counts and watermarks by part; without a watermark something new each time."""
        if not self.watermark:
            return os.urandom(16).hex()
        with self.session() as bound:
            return digest([[one.place, one.version] for one in bound.partitions(digest_of, Path())])

    @contextmanager
    def session(self) -> Iterator["SqlSource"]:
        """The source inside one transaction, which ends with the block."""
        name = os.urandom(8).hex()
        with snapshot(self._engine(), self.url, seconds=60 * self.statement_minutes) as connection:
            SESSIONS[name] = Session(connection=connection, share=exported(connection), lock=threading.Lock())
            bound = self.model_copy()
            bound._session = name  # noqa: SLF001 - its own
            try:
                yield bound
            finally:
                del SESSIONS[name]

    def _engine(self) -> Any:
        return engine(self.url, self.user, secret(self.password, "source.password"))

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """Ranges of the key, counted; then the rows without one."""
        session = SESSIONS[self._session]
        with faults(self.url):
            names = self._names(session.connection)
            key, order = self._key(session.connection, names)
            types = sampled(self._sample(session.connection), names)
            total = int(self._run(session.connection, f"SELECT count(*) FROM {self._base()}", {}).scalar() or 0)
            ranges = self._ranges(session.connection, key, total)
            found = [
                part for one in ranges for part in self._partitions(session, one, key=key, order=order, types=types)
            ]
        counted = sum(one.argument["count"] for one in found)
        if counted != total:
            what, action = f"its parts have {counted} rows, and all of it has {total}", "name another key, or try again"
            raise DataError("E_SOURCE_CHANGED", what, place="source.key", value=key, action=action)
        return found

    def _partitions(self, session: Session, bounds: Bounds, **more: Any) -> Iterator[Partition]:
        """The part of a range; several where many rows have the same key or none."""
        key = more["key"]
        where, values = bounds.where(self._quoted(key))
        mark = f", max({self._quoted(self.watermark)})" if self.watermark else ""
        row = self._run(session.connection, f"SELECT count(*){mark} FROM {self._base()}{where}", values).fetchone()
        stamp = str(row[1]) if self.watermark else self._session
        for page, count in bounds.pages(int(row[0]), self.rows_per_partition):
            yield Partition(
                place=f"{self.table or 'query'} {key} {page.said}".strip(),
                version=digest([self._identity(), page.identity, int(row[0]), stamp]),
                size_bytes=max(count, 1) * 100,
                argument={
                    "session": self._session,
                    "share": session.share,
                    "bounds": page,
                    "count": count,
                    **more,
                },
            )

    def read(self, partition: Partition) -> Rows:
        """The rows of one range.

        Raises:
            DataError: E_SOURCE_CHANGED, another number of rows came than were counted.
        """
        argument = partition.argument
        session = SESSIONS.get(argument["session"])
        if argument["share"]:
            # Each worker joins the snapshot with a connection of its own.
            with snapshot(self._engine(), self.url, argument["share"], 60 * self.statement_minutes) as connection:
                return self._rows(connection, argument, partition.place)
        if session is None:
            raise ConfigError(
                "E_CONFIG",
                "this database can only be read by the process that opened it",
                place="MILLRACE_DASK_ADDRESS",
                action="unset it for this recipe, or export the table to files",
            )
        with session.lock, faults(self.url):
            return self._rows(session.connection, argument, partition.place)

    def _rows(self, connection: Any, argument: dict[str, Any], place: str) -> Rows:
        bounds: Bounds = argument["bounds"]
        order = ", ".join(self._quoted(one) for one in argument["order"])
        text, values = bounds.select(self._base(), self._quoted(argument["key"]), order)
        with faults(self.url):
            result = self._run(connection, text, values)
            names, rows = [one for one in result.keys() if one != NUMBER], result.fetchall()  # noqa: SIM118
        if len(rows) != argument["count"]:
            raise DataError(
                "E_SOURCE_CHANGED",
                f"{len(rows)} rows came where {argument['count']} were counted",
                place=place,
                action="run the same command again",
            )
        given, types = {one.name: one for one in self._declared}, argument["types"]

        def where_is(row: int) -> str:
            return f"{place}, row {row + 1}"

        cells = {
            name: column([row[at] for row in rows], name, given.get(name), where_is, empty=types.get(name, "string"))
            for at, name in enumerate(names)
        }
        return Rows(table=pa.table(cells), numbers=pa.array(range(1, len(rows) + 1), pa.int64()))

    def _names(self, connection: Any) -> list[str]:
        known = tables(connection, self.schema_name) if self.table else []
        if self.table and self.table not in known:
            raise DataError(
                "E_SQL_OBJECT",
                f"there is no such table{nearest(self.table, known)}",
                place="source.table",
                value=self.table,
                action="correct source.table or source.schema_name",
            )
        # A statement with a parameter is sent as one: a server takes no two in its place, whatever a query may hide.
        found = list(self._run(connection, f"SELECT * FROM {self._base()} WHERE 1 = :none", {"none": 0}).keys())
        double = next((one for one in found if found.count(one) > 1), None)
        if double is not None:
            action = "give one of them another name: SELECT a.id AS a_id, …"
            raise DataError(
                "E_DUP_COLUMN", "two columns have this name", place="source.query", value=double, action=action
            )
        for place, name in (("key", self.key), ("watermark", self.watermark)):
            if name and name not in found:
                raise DataError(
                    "E_SQL_OBJECT",
                    "there is no such column",
                    place=f"source.{place}",
                    value=name,
                    allowed=", ".join(found),
                    action="correct it",
                )
        return found

    def _key(self, connection: Any, names: list[str]) -> tuple[str, list[str]]:
        """The column of the ranges, and the columns that rows are ordered by."""
        primary = primary_key(connection, self.table, self.schema_name) if self.table else []
        key = self.key or (primary[0] if primary else "")
        return key, [one for one in dict.fromkeys([key, *primary, *names]) if one in names] if key else []

    def _ranges(self, connection: Any, key: str, total: int) -> list[Bounds]:
        if not key:
            if total > self.rows_per_partition:
                raise DataError(
                    "E_SQL_OBJECT",
                    f"{total} rows have no primary key to be read in parts by",
                    place="source.key",
                    action="name a column, or raise source.rows_per_partition above the number of rows",
                )
            return [Bounds(kind="")]
        quoted = self._quoted(key)
        found = self._run(
            connection,
            f"SELECT DISTINCT k FROM (SELECT {quoted} AS k, row_number() OVER (ORDER BY {quoted}) AS n "
            f"FROM {self._base()} WHERE {quoted} IS NOT NULL) AS numbered "
            f"WHERE (n - 1) % {self.rows_per_partition} = 0 ORDER BY k",
            {},
        )
        starts = [row[0] for row in found][1:]
        edges = [None, *starts, None]
        ranges = [Bounds(kind="range", low=low, high=high) for low, high in pairwise(edges)]
        missing = int(self._run(connection, f"SELECT count(*) FROM {self._base()} WHERE {quoted} IS NULL", {}).scalar())
        return [*ranges, Bounds(kind="null")] if missing else ranges

    def _sample(self, connection: Any) -> list[Any]:
        from sqlalchemy import select, text

        base = text(self._base())
        return list(connection.execute(select(text("*")).select_from(base).limit(SAMPLE)).fetchall())

    def _run(self, connection: Any, statement: str, values: dict[str, Any]) -> Any:
        from sqlalchemy import text

        # A colon inside the user's query is no parameter of ours.
        return connection.execute(text(statement), values)

    def _base(self) -> str:
        if self.query:
            return f"({self.query.replace(':', chr(92) + ':')}) AS source_query"
        name = self._quoted(self.table)
        return f"{self._quoted(self.schema_name)}.{name}" if self.schema_name else name

    def _quoted(self, name: str) -> str:
        mark = "`" if self.url.startswith(("mysql", "mariadb")) else '"'
        return mark + name.replace(mark, mark * 2) + mark

    def _identity(self) -> list[str]:
        from sqlalchemy.engine import make_url

        url = make_url(self.url)
        database = self.database_name or Path(url.database or "").name
        return [url.get_backend_name(), database, self.schema_name, self.table, self.query]

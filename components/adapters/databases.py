"""Relational databases by SQLAlchemy: read-only connections, one snapshot for many readers, errors without secrets."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components.contracts.errors import DataError, EnvironmentFault, MillraceError

REFUSED = re.compile(
    r"password|authenti|28P01|28000|Access denied|login failed|no pg_hba|role .* does not exist|permission denied",
    re.IGNORECASE,
)
CONNECT_SECONDS = 10
DRIVERS = {"postgresql": "psycopg", "duckdb": "duckdb_engine", "mysql": "pymysql"}


@contextmanager
def writer(url: str, user: str, password: str, place: str) -> Iterator[Any]:
    """An engine that writes, while the block runs; its errors as one line that names `place`.

    Raises:
        DataError: E_SOURCE_CONNECT, the address is none.
        EnvironmentFault: E_EXTRA_MISSING, E_CREDENTIALS, E_SERVER_UNREACHABLE; E_IO, the database refuses it.
    """
    import sqlalchemy
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        parsed = parsed.set(username=user or parsed.username, password=password or parsed.password)
        made = sqlalchemy.create_engine(parsed, poolclass=NullPool, hide_parameters=True)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise DataError(
            "E_SOURCE_CONNECT", "this is no database address", place=place, value=shown(url), action=f"correct {place}"
        ) from error
    except ImportError as error:
        raise EnvironmentFault(
            "E_EXTRA_MISSING", f"{error.name} is not installed", place=place, action="pip install -e '.[sql]'"
        ) from error
    try:
        yield made
    except SQLAlchemyError as error:
        said = " ".join(str(getattr(error, "orig", error)).split())[:200]
        code = "E_CREDENTIALS" if REFUSED.search(said) else "E_IO"
        what = "see that it runs and may be written"
        told = f"the database refuses it: {said}"
        raise EnvironmentFault(code, told, place=place, value=shown(url), action=what) from error
    finally:
        made.dispose()


def engine(url: str, user: str, password: str) -> Any:
    """An engine whose connections only read.

    Raises:
        DataError: E_FORMAT, the address is none.
        EnvironmentFault: E_EXTRA_MISSING, the driver is not installed.
    """
    import sqlalchemy
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool

    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if user:
            parsed = parsed.set(username=user)
        if password:
            parsed = parsed.set(password=password)
        dialect = parsed.get_backend_name()
        if dialect == "sqlite" and parsed.database:
            # A file that is not there is an error, and not made.
            query = {"mode": "ro", "uri": "true"}
            parsed = parsed.set(database=f"file:{parsed.database.removeprefix('file:')}", query=query)
        options: dict[str, Any] = {}
        if dialect == "duckdb":
            options["connect_args"] = {"read_only": True}
        elif dialect == "postgresql":
            options["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
        return sqlalchemy.create_engine(parsed, poolclass=NullPool, hide_parameters=True, **options)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise DataError(
            "E_SOURCE_CONNECT",
            "this is no database address",
            place="source.url",
            value=shown(url),
            allowed="dialect://host:port/database, sqlite:////absolute/path.db, duckdb:////absolute/path.db",
            action="correct source.url",
        ) from error
    except ImportError as error:
        raise EnvironmentFault(
            "E_EXTRA_MISSING",
            f"{error.name} is not installed",
            place="source.url",
            value=shown(url),
            action="install it: pip install -e '.[sql]'",
        ) from error


@contextmanager
def snapshot(made: Any, url: str, share: str = "", seconds: float = 0.0) -> Iterator[Any]:
    """A connection inside one read-only transaction; `share` is another one's snapshot, of `exported`.

    PostgreSQL ends a statement that takes longer than so many seconds; 0 is any time.
    """
    from sqlalchemy import text

    options: dict[str, Any] = (
        {} if made.dialect.name in {"sqlite", "duckdb"} else {"isolation_level": "REPEATABLE READ"}
    )
    if made.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    with faults(url), made.connect().execution_options(**options) as connection:
        if made.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.exec_driver_sql("BEGIN")
        if made.dialect.name == "postgresql" and seconds:
            connection.execute(text(f"SET LOCAL statement_timeout = {round(1000 * seconds)}"))
        if share:
            connection.execute(text(f"SET TRANSACTION SNAPSHOT '{share}'"))
        yield connection


def exported(connection: Any) -> str:
    """The name under which other connections can join this one's snapshot; "" where the dialect has none."""
    from sqlalchemy import text

    if connection.dialect.name != "postgresql":
        return ""
    return str(connection.execute(text("SELECT pg_export_snapshot()")).scalar())


@contextmanager
def faults(url: str) -> Iterator[None]:
    """What the database or its driver raises, as one line without a password."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

    try:
        yield
    except MillraceError:
        raise
    except DBAPIError as error:
        said = " ".join(str(error.orig).split())
        if REFUSED.search(said) and "permission denied for" not in said:
            raise EnvironmentFault(
                "E_CREDENTIALS",
                "the database refuses these credentials",
                place="source.url",
                value=shown(url),
                action="correct source.user and source.password (secret://name)",
            ) from None
        if "statement timeout" in said:
            raise EnvironmentFault(
                "E_SOURCE_CONNECT",
                "a statement took longer than source.statement_minutes",
                place="source.url",
                value=shown(url),
                action="raise it, lower source.rows_per_partition, or give source.key an index",
            ) from None
        if error.connection_invalidated or (
            isinstance(error, (OperationalError, InterfaceError))
            and not re.search(r"no such|does not exist|syntax", said)
        ):
            raise EnvironmentFault(
                "E_SOURCE_CONNECT",
                f"the database does not answer ({said[:120]})",
                place="source.url",
                value=shown(url),
                action="start it or correct the address, then run the same command again",
            ) from None
        raise DataError(
            "E_SQL_OBJECT",
            f"the database refuses the query ({said[:200]})",
            place="source",
            value=shown(url),
            action="correct source.table, source.query, source.key and source.watermark",
        ) from None
    except SQLAlchemyError as error:
        raise DataError(
            "E_SQL_OBJECT",
            f"{type(error).__name__}: {error}"[:200],
            place="source",
            value=shown(url),
            action="correct it",
        ) from None


def shown(url: str) -> str:
    """The address without a user's name and password, and without options."""
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0]


def tables(connection: Any, schema: str) -> list[str]:
    """The names of the tables and views of a schema ("": the default one)."""
    from sqlalchemy import inspect, text

    if connection.dialect.name == "duckdb":
        # Its dialect asks for what only PostgreSQL has.
        found = connection.execute(text("SELECT table_name, table_schema FROM information_schema.tables"))
        return [name for name, where in found if where == (schema or "main")]
    inspector = inspect(connection)
    return [*inspector.get_table_names(schema=schema or None), *inspector.get_view_names(schema=schema or None)]


def primary_key(connection: Any, table: str, schema: str) -> list[str]:
    """The columns of the table's primary key; none where it has none."""
    from sqlalchemy import inspect, text

    if connection.dialect.name == "duckdb":
        statement = (
            "SELECT unnest(constraint_column_names) FROM duckdb_constraints() "
            "WHERE constraint_type = 'PRIMARY KEY' AND table_name = :table AND schema_name = :schema"
        )
        return [row[0] for row in connection.execute(text(statement), {"table": table, "schema": schema or "main"})]
    return list(inspect(connection).get_pk_constraint(table, schema=schema or None)["constrained_columns"])

"""A table of a database. A part's rows and the note that they are there are one transaction."""

import json
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from components.adapters.databases import writer
from components.adapters.secrets import REFERENCE, secret
from components.contracts.config import StepConfig, placed

NOTES = "millrace_scored"
"""The table that says which parts are there."""
ROWS_AT_ONCE = 1000


class SqlSink(StepConfig):
    """Rows of a table, which is made where it is missing; lists become JSON text."""

    kind: Literal["sql"] = "sql"
    url: str = placed(description="address of the database, without a password")
    table: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$", description="name of the table")
    user: str = placed("", description="who writes")
    password: str = placed("", pattern=REFERENCE, description="secret://name of the password")

    def deliver(self, key: str, rows: pa.Table) -> bool:
        """Insert a part's rows, unless they are there; whether they were inserted now.

        Raises:
            DataError: E_SOURCE_CONNECT, the address is none.
            EnvironmentFault: E_SERVER_UNREACHABLE, E_CREDENTIALS, E_EXTRA_MISSING, E_IO.
        """
        import sqlalchemy as sql
        from sqlalchemy.exc import IntegrityError

        with writer(self.url, self.user, secret(self.password, "to.password"), "to.url") as engine:
            known = sql.MetaData()
            notes = sql.Table(NOTES, known, sql.Column("part", sql.String(200), primary_key=True))
            table = sql.Table(self.table, known, *(sql.Column(one.name, _kind(sql, one.type)) for one in rows.schema))
            known.create_all(engine)
            with engine.begin() as connection:
                try:
                    connection.execute(sql.insert(notes), [{"part": f"{self.table}/{key}"}])
                except IntegrityError:
                    return False
                for batch in rows.to_batches(ROWS_AT_ONCE):
                    if batch.num_rows:
                        connection.execute(sql.insert(table), [_flat(one) for one in batch.to_pylist()])
        return True


def _kind(sql: Any, kind: pa.DataType) -> Any:
    if pa.types.is_integer(kind):
        return sql.BigInteger
    if pa.types.is_floating(kind):
        return sql.Double
    if pa.types.is_boolean(kind):
        return sql.Boolean
    return sql.DateTime(timezone=True) if pa.types.is_timestamp(kind) else sql.Text


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(cell) if isinstance(cell, (list, dict)) else cell for name, cell in row.items()}

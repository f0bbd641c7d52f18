"""What parse and cast share: cells of one type become cells of another, or their row goes."""

from functools import reduce
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from components.cleaning.typed import fits, read_cells
from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import Column

Target = Literal["string", "int64", "float64", "bool", "date", "timestamp"]

NUMBERS = ("int64", "float64", "bool")
TARGETS = {
    "string": ("string", *NUMBERS, "date", "timestamp"),
    **dict.fromkeys(NUMBERS, (*NUMBERS, "string")),
    "date": ("date", "string"),
    "timestamp": ("timestamp", "date", "string"),
}
"""What cells of a type can become."""


class Retyped(StepConfig):
    """Columns that get another type."""

    columns: tuple[str, ...] = Field(min_length=1, description="columns of one type")
    type: Target = Field(description="the type that they get")
    wrong: Literal["drop", "missing"] = Field(
        "drop", description="a cell that cannot be of that type: its row is dropped, or the cell is missing then"
    )

    @field_validator("columns")
    @classmethod
    def _once_each(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError("a column is named twice")
        return columns

    def values(self, table: pa.Table) -> pa.Table:
        """`table` with the columns as the type; a cell that cannot be is missing."""
        for name in set(self.columns) & set(table.column_names):
            cells = read_cells(table[name], self.read_as(name)).values
            table = table.set_column(table.column_names.index(name), name, cells)
        return table

    def keeps(self, table: pa.Table) -> pa.ChunkedArray | None:
        """Whether all of a row's cells can be read, where others are not to be missing."""
        if self.wrong == "missing":
            return None
        fitting = [fits(table[name], self.read_as(name)) for name in self.columns if name in table.column_names]
        return pa.chunked_array([reduce(np.logical_and, fitting)]) if fitting else None

    def becomes(self, column: Column) -> Column:
        """What one of the columns is afterwards.

        Raises:
            ConfigError: E_CONFIG, no cell of its type can be of the other.
        """
        allowed = TARGETS.get(column.type, ())
        if self.type not in allowed:
            what = f"{column.name} is {column.type}, of which no cell can become {self.type}"
            raise ConfigError(
                "E_CONFIG", what, place="cleaning.type", value=self.type, allowed=", ".join(allowed),
                action="correct the type or the column's name",
            )  # fmt: skip
        return Column(name=column.name, type=self.type, nullable=column.nullable or self.wrong == "missing")

    def read_as(self, name: str) -> Column:
        """The type, and how its cells are written."""
        return Column(name=name, type=self.type)

"""Rows that must have a value."""

from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from components.contracts.config import StepConfig


class Require(StepConfig):
    """Drop the rows in which one of `columns` is missing."""

    spares_numbers: ClassVar[bool] = True
    kind: Literal["require"] = "require"
    columns: tuple[str, ...] = Field(min_length=1, description="columns that may not be missing")

    def values(self, table: pa.Table) -> pa.Table:
        """`table` as it is."""
        return table

    def keeps(self, table: pa.Table) -> pa.ChunkedArray | None:
        """True where every one of the columns has a value; a column that is not there is not asked for."""
        keeps = None
        for name in self.columns:
            if name in table.column_names:
                valid = pc.is_valid(table[name])
                keeps = valid if keeps is None else pc.and_(keeps, valid)
        return keeps

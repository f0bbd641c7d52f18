"""A constant in the place of what is missing. What is fitted (a mean, a median) belongs to preprocess."""

from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from components.cleaning.cells import constant
from components.contracts.config import StepConfig


class Fill(StepConfig):
    """Put `value` into the missing cells of `columns`."""

    spares_numbers: ClassVar[bool] = True
    kind: Literal["fill"] = "fill"
    columns: tuple[str, ...] = Field(min_length=1, description="columns of one type")
    value: bool | int | float | str = Field(description="what stands there then; of the columns' type")

    def values(self, table: pa.Table) -> pa.Table:
        """`table` without missing cells in the columns."""
        for name in set(self.columns) & set(table.column_names):
            filled = pc.fill_null(
                table[name], constant(self.value, table[name].type, f"cleaning.fill.value for {name}")
            )
            table = table.set_column(table.column_names.index(name), name, filled)
        return table

    def keeps(self, table: pa.Table) -> None:
        """Every row stays."""

"""Cut one ending off text cells."""

from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ColumnType


class RemoveSuffix(StepConfig):
    """Cut `suffix` off the cells that end in it."""

    needs: ClassVar[ColumnType] = "string"
    spares_numbers: ClassVar[bool] = True
    kind: Literal["remove-suffix"] = "remove-suffix"
    columns: tuple[str, ...] = Field(min_length=1, description="text columns")
    suffix: str = Field(min_length=1, description="the ending to cut, once")

    def values(self, table: pa.Table) -> pa.Table:
        """`table` without the ending."""
        for name in set(self.columns) & set(table.column_names):
            column = table[name]
            cut = pc.utf8_slice_codeunits(column, 0, stop=-len(self.suffix))
            ends = pc.ends_with(column, pattern=self.suffix)
            table = table.set_column(table.column_names.index(name), name, pc.if_else(ends, cut, column))
        return table

    def keeps(self, table: pa.Table) -> None:
        """Every row stays."""

"""Numbers brought within bounds that the recipe declares. Bounds that are learned belong to preprocess."""

from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from components.cleaning.cells import constant
from components.contracts.config import StepConfig


class Clip(StepConfig):
    """Bring the numbers of `columns` within `minimum` and `maximum`."""

    kind: Literal["clip"] = "clip"
    columns: tuple[str, ...] = Field(min_length=1, description="number columns")
    minimum: float | None = Field(None, description="what is smaller becomes this")
    maximum: float | None = Field(None, description="what is larger becomes this")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError("give a minimum, a maximum or both")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("the minimum lies above the maximum")
        return self

    def values(self, table: pa.Table) -> pa.Table:
        """`table` with the numbers inside; what is missing stays so."""
        for name in set(self.columns) & set(table.column_names):
            column = table[name]
            kind = column.type
            if self.minimum is not None:
                low = constant(self.minimum, kind, f"cleaning.clip.minimum for {name}")
                column = pc.if_else(pc.less(column, low), low, column)
            if self.maximum is not None:
                high = constant(self.maximum, kind, f"cleaning.clip.maximum for {name}")
                column = pc.if_else(pc.greater(column, high), high, column)
            table = table.set_column(table.column_names.index(name), name, column)
        return table

    def keeps(self, table: pa.Table) -> None:
        """Every row stays."""

"""Rows that fulfil what the recipe says of one column; several such operations hold together."""

from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from components.cleaning.cells import constant
from components.contracts.config import StepConfig

COMPARE = {
    "equal": pc.equal,
    "not-equal": pc.not_equal,
    "less": pc.less,
    "at-most": pc.less_equal,
    "greater": pc.greater,
    "at-least": pc.greater_equal,
}


class KeepRows(StepConfig):
    """Keep the rows whose `column` compares to `value` as `when` says; a missing cell does not."""

    kind: Literal["keep-rows"] = "keep-rows"
    column: str = Field(min_length=1, description="the column that is looked at")
    when: Literal["equal", "not-equal", "less", "at-most", "greater", "at-least", "one-of"] = Field(
        description="how its cell has to compare to the value"
    )
    value: bool | int | float | str | None = Field(None, description="what it is compared to; a date as ISO 8601 text")
    values_of: tuple[str, ...] = Field((), description="for one-of: the texts that may stand there")

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        if (self.when == "one-of") != bool(self.values_of) or (self.value is None) != (self.when == "one-of"):
            raise ValueError("one-of needs values_of, every other comparison a value")
        return self

    def values(self, table: pa.Table) -> pa.Table:
        """`table` as it is."""
        return table

    def keeps(self, table: pa.Table) -> pa.ChunkedArray | None:
        """True where the comparison holds; a column that is not there is not asked for."""
        if self.column not in table.column_names:
            return None
        cells = table[self.column]
        if self.when == "one-of":
            place = f"cleaning.keep-rows.values_of for {self.column}"
            return pc.is_in(
                cells, pa.array([constant(one, cells.type, place).as_py() for one in self.values_of], cells.type)
            )
        return pc.fill_null(
            COMPARE[self.when](cells, constant(self.value, cells.type, f"cleaning.keep-rows.value for {self.column}")),
            False,
        )

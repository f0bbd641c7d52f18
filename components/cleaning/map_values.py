"""Texts replaced by others: spellings of one thing brought together, codes made readable, codes that mean: missing."""

from typing import ClassVar, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from components.contracts.config import StepConfig
from components.contracts.spec import ColumnType


class MapValues(StepConfig):
    """Replace whole cells of `columns` by what `to` says."""

    needs: ClassVar[ColumnType] = "string"
    kind: Literal["map-values"] = "map-values"
    columns: tuple[str, ...] = Field(min_length=1, description="text columns")
    to: dict[str, str | None] = Field(min_length=1, description="a cell to what stands there then; null: missing")
    others: Literal["keep", "missing"] = Field("keep", description="what becomes of a cell that is not named")

    @model_validator(mode="after")
    def _ends(self) -> Self:
        again = next((new for new in self.to.values() if new in self.to and self.to[new] != new), None)
        if again is not None:
            raise ValueError(f"{again} is put in and replaced again; say at once what stands there in the end")
        return self

    def values(self, table: pa.Table) -> pa.Table:
        """`table` with the cells replaced; what is put in counts as named."""
        whole = {**{new: new for new in self.to.values() if new is not None}, **self.to}
        known = pa.array(list(whole), pa.string())
        new = pa.array(list(whole.values()), pa.string())
        for name in set(self.columns) & set(table.column_names):
            column = table[name]
            at = pc.index_in(column, known, skip_nulls=True)
            rest = column if self.others == "keep" else pa.scalar(None, pa.string())
            table = table.set_column(
                table.column_names.index(name), name, pc.if_else(pc.is_valid(at), pc.take(new, at), rest)
            )
        return table

    def keeps(self, table: pa.Table) -> None:
        """Every row stays."""

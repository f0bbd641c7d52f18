"""Rows that say the same as an earlier one; clean finds them over all partitions (components/duplicates.py)."""

from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from components.contracts.config import StepConfig


class DropDuplicates(StepConfig):
    """Keep the first of the rows that are equal in `columns`. A request's row is never a duplicate."""

    spares_numbers: ClassVar[bool] = True
    kind: Literal["drop-duplicates"] = "drop-duplicates"
    columns: tuple[str, ...] = Field((), description="what is compared; none: everything")

    def values(self, table: pa.Table) -> pa.Table:
        """`table` as it is."""
        return table

    def keeps(self, table: pa.Table) -> None:
        """Every row of one partition stays: clean drops the others."""

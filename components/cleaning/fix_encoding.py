"""Text that was UTF-8 and was read as Western European (`MÃ¼ller` for `Müller`), made what it was."""

from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from components.cleaning.misread import MARKS, fixed_text
from components.contracts.config import StepConfig
from components.contracts.spec import ColumnType


class FixEncoding(StepConfig):
    """Undo a wrong reading of the texts of `columns`; a text of which any part is right already stays."""

    needs: ClassVar[ColumnType] = "string"
    spares_numbers: ClassVar[bool] = True
    kind: Literal["fix-encoding"] = "fix-encoding"
    columns: tuple[str, ...] = Field(min_length=1, description="text columns")

    def values(self, table: pa.Table) -> pa.Table:
        """`table` with the texts as they were."""
        for name in set(self.columns) & set(table.column_names):
            cells = table[name]
            odd = pc.fill_null(pc.match_substring_regex(cells, MARKS), False)
            if pc.any(odd).as_py():
                fixed = [fixed_text(one) for one in cells.filter(odd).to_pylist()]
                cells = pc.replace_with_mask(cells, odd.combine_chunks(), pa.array(fixed, pa.string()))
                table = table.set_column(table.column_names.index(name), name, cells)
        return table

    def keeps(self, table: pa.Table) -> None:
        """Every row stays."""

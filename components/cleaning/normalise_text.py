"""Text in one form: Unicode's, blanks, case."""

from typing import ClassVar, Literal
from unicodedata import normalize

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ColumnType


class NormaliseText(StepConfig):
    """Bring the texts of `columns` into one form."""

    needs: ClassVar[ColumnType] = "string"
    spares_numbers: ClassVar[bool] = True
    kind: Literal["normalise-text"] = "normalise-text"
    columns: tuple[str, ...] = Field(min_length=1, description="text columns")
    form: Literal["none", "NFC", "NFKC"] = Field("NFC", description="of Unicode; NFKC also unites widths and ligatures")
    blanks: bool = Field(True, description="whether runs of blanks become one and those at the ends go")
    lower: bool = Field(False, description="whether letters become lower case")

    def values(self, table: pa.Table) -> pa.Table:
        """`table` with the texts in that form."""
        for name in set(self.columns) & set(table.column_names):
            column = table[name]
            if self.form != "none":
                column = _in_form(column, self.form)
            if self.blanks:
                column = pc.utf8_trim_whitespace(pc.replace_substring_regex(column, r"\s+", " "))
            if self.lower:
                column = pc.utf8_lower(column)
            table = table.set_column(table.column_names.index(name), name, column)
        return table

    def keeps(self, table: pa.Table) -> None:
        """Every row stays."""


def _in_form(cells: pa.ChunkedArray, form: Literal["NFC", "NFKC"]) -> pa.ChunkedArray:
    """The texts in a form of Unicode. By Python: Arrow's own (25.0) only takes apart, and puts nothing together."""
    odd = pc.fill_null(pc.invert(pc.string_is_ascii(cells)), False)
    if not pc.any(odd).as_py():
        return cells
    made = [normalize(form, one) for one in cells.filter(odd).to_pylist()]
    return pc.replace_with_mask(cells, odd.combine_chunks(), pa.array(made, pa.string()))

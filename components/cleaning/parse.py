"""Text read as numbers, truths, dates or times, after what other operations did to it."""

from typing import ClassVar, Literal

from pydantic import Field

from components.cleaning.retyped import Retyped, Target
from components.cleaning.written import Written
from components.contracts.spec import ColumnType


class Parse(Written, Retyped):
    """Read the texts of `columns` as `type`; text that needs no cleaning first is read at ingest by checks.columns."""

    needs: ClassVar[ColumnType] = "string"
    kind: Literal["parse"] = "parse"
    type: Target = Field(description="what the texts are read as")

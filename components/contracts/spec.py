"""What columns and tensors look like: where sources, features, models and objectives meet.

A `Column` describes a typed Arrow column, a `TensorSpec` one tensor without its batch axis. Neither holds data.
"""

from typing import Literal

from pydantic import Field

from components.contracts.config import Frozen

KEY, SPLIT, FILE, ROW = "__key__", "__split__", "__file__", "__row__"
OWN_COLUMNS = (KEY, SPLIT, FILE, ROW)
"""Columns that every snapshot carries beside the source's: the row's key, its given part, where it was read."""

ColumnType = Literal["string", "int64", "float64", "bool", "image"]


class Column(Frozen):
    """One column of a snapshot. `image` is encoded image bytes in a binary column."""

    name: str
    type: ColumnType
    nullable: bool = True


class TensorSpec(Frozen):
    """One tensor of a batch: `shape` leaves the batch axis out; `classes` has one count per index column."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "int64"]
    classes: tuple[int, ...] = Field((), description="number of values per index column; empty for real numbers")

    @property
    def size(self) -> int:
        """Numbers in one row."""
        size = 1
        for axis in self.shape:
            size *= axis
        return size

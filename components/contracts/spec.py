"""What columns and tensors look like: where sources, features, models and objectives meet.

A `Column` describes a typed Arrow column, a `TensorSpec` one tensor without its batch axis. Neither holds data.
"""

from typing import Literal

from pydantic import Field

from components.contracts.config import Frozen

KEY, SPLIT, FILE, ROW = "__key__", "__split__", "__file__", "__row__"
OWN_COLUMNS = (KEY, SPLIT, FILE, ROW)
"""Columns that every snapshot carries beside the source's: the row's key, its given part, where it was read."""

ROW_WEIGHT = "row weight"
"""Beside the targets of a training batch, where classes are weighted: float32[batch], what each row's loss counts."""

GROUPS = "groups_of_people"
"""Beside the targets of a training batch, where people's groups are weighed: int64[batch, columns], their codes."""

CODE_MEAN, CODE_LOG_VARIANCE = "code mean", "code log variance"
"""Beside the outputs of a variational model: float32[batch, code] each, of the distribution of the code."""

VECTORS, ROW_LOSS, ROW_LOSS_OF_ZEROS = "vectors", "row loss", "row loss of zeros"
"""What a model of word vectors gives: of each row the mean vector, what the model lost on it, and what zeros lose."""

REALNESS = "realness"
"""Beside the rows that a GAN draws: float32[batch], above 0 where the given row looks real to its critic."""

ColumnType = Literal[
    "string", "int64", "float64", "bool", "date", "timestamp", "binary", "image", "audio", "floats", "strings"
]
"""`date` is a day, `timestamp` an instant (microseconds, kept in UTC); `image` and `audio` are encoded bytes; `floats`
and `strings` are lists."""


class Column(Frozen):
    """One column of a snapshot, and how text becomes a value of it.

    `format` is how dates and times are written (strptime); none: ISO 8601. `timezone` is the IANA name of the zone that
    clock times without an offset are in; none: such times are refused. `decimal`, `thousands` and `unit` are how
    numbers are written in text: 1.234,50 € has a decimal comma, points between thousands, and the unit €.
    """

    name: str
    type: ColumnType
    nullable: bool = True
    format: str = ""
    timezone: str = ""
    nan: Literal["refuse", "missing"] = "refuse"
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ",", ".", " ", "'"] = ""
    unit: str = ""

    @property
    def as_people_write(self) -> bool:
        """Whether numbers in text have to be rewritten before they are read."""
        return self.decimal != "." or bool(self.thousands or self.unit)


class TensorSpec(Frozen):
    """One tensor of a batch: `shape` leaves the batch axis out; `classes` has one count per index column.

    Of a `sequence` the last axis is as long as the longest row of the batch where `shape` says -1; indices along it are
    of one vocabulary, and 0 fills up.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "int64"]
    classes: tuple[int, ...] = Field((), description="number of values per index column; empty for real numbers")
    sequence: bool = Field(False, description="whether the last axis is one of steps")

    @property
    def size(self) -> int:
        """Numbers in one row."""
        size = 1
        for axis in self.shape:
            size *= axis
        return size

"""What one column's cells must be, and which rows fail."""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from components.adapters.audio import is_sound
from components.cleaning.written import Written
from components.contracts.spec import Column

JPEG = b"\xff\xd8"
MOST_PIXELS = 2**26
"""Of larger images Pillow judges, which knows bombs."""


class ColumnCheck(Written):
    """What the cells of one column must be."""

    nullable: bool = Field(True, description="whether a cell may be missing")
    minimum: float | None = Field(None, description="smallest value of a number")
    maximum: float | None = Field(None, description="largest value of a number")
    earliest: str = Field("", description="first date or time, ISO 8601")
    latest: str = Field("", description="last date or time, ISO 8601")
    allowed: tuple[str, ...] = Field((), description="the only values that text may have; none: any")
    pattern: str = Field("", description="a regular expression (RE2) that the whole of a text has to match")
    min_length: int = Field(0, ge=0, description="fewest characters of a text, or entries of a list")
    max_length: int = Field(0, ge=0, description="most of these; 0: any number")
    unique: bool = Field(False, description="whether a value may stand once only; later rows with it are set aside")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            pc.match_substring_regex(pa.array([""]), f"^(?:{pattern})$")
        except pa.ArrowInvalid as error:
            raise ValueError(f"not a regular expression of RE2: {error}") from error
        return pattern

    @field_validator("earliest", "latest")
    @classmethod
    def _is_iso(cls, text: str) -> str:
        if text:
            datetime.fromisoformat(text)
        return text

    @model_validator(mode="after")
    def _fits_the_type(self) -> Self:
        number = self.type in {"int64", "float64"}
        time = self.type in {"date", "timestamp"}
        text = self.type == "string"
        self._refuse(
            minimum=self.minimum is not None and not number,
            maximum=self.maximum is not None and not number,
            earliest=bool(self.earliest) and not time,
            latest=bool(self.latest) and not time,
            allowed=bool(self.allowed) and not text,
            pattern=bool(self.pattern) and not text,
        )
        return self


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Rows that fail one check of one column: bool[rows]."""

    rows: NDArray[np.bool_]
    code: str
    column: str
    reason: str


def asks(column: Column, check: ColumnCheck | None) -> bool:
    """Whether anything is asked of the cells beside their type, which ingest saw to."""
    if not column.nullable or column.type in {"image", "audio"}:
        return True
    return check is not None and bool(
        check.model_dump(exclude={*Written.model_fields, "nullable", "unique"}, exclude_defaults=True)
    )


def failures(cells: pa.ChunkedArray, column: Column, check: ColumnCheck | None) -> Iterator[Failure]:
    """What the cells of a column fail, check by check."""
    if not column.nullable and cells.null_count:
        yield _failing(pc.is_null(cells), "E_TYPE", column, "missing, and the column is not nullable")
    if column.type == "image":
        wrong = pa.array([not is_image(cell.as_py()) for cell in cells], pa.bool_())
        yield _failing(wrong, "E_IMAGE", column, "does not decode as an image")
    if column.type == "audio":
        wrong = pa.array([not is_sound(cell.as_py()) for cell in cells], pa.bool_())
        yield _failing(wrong, "E_AUDIO", column, "does not decode as sound, or its end is missing")
    if check is not None:
        for mask, reason in (*_outside(cells, check), *_unlike(cells, check), *_too_long(cells, check)):
            yield _failing(mask, "E_VALUE", column, reason)


def _failing(mask: Any, code: str, column: Column, reason: str) -> Failure:
    rows = np.asarray(pc.fill_null(mask, False)).astype(bool)
    return Failure(rows=rows, code=code, column=column.name, reason=reason)


def _outside(cells: pa.ChunkedArray, check: ColumnCheck) -> Iterator[tuple[Any, str]]:
    if check.minimum is not None:
        yield pc.less(cells, _bound(math.ceil, check.minimum, cells)), f"below {check.minimum:g}"
    if check.maximum is not None:
        yield pc.greater(cells, _bound(math.floor, check.maximum, cells)), f"above {check.maximum:g}"
    if check.earliest:
        yield pc.less(cells, _moment(check.earliest, cells.type)), f"before {check.earliest}"
    if check.latest:
        yield pc.greater(cells, _moment(check.latest, cells.type)), f"after {check.latest}"


def _bound(rounded: Callable[[float], int], value: float, cells: pa.ChunkedArray) -> pa.Scalar:
    """The bound as the cells' type: whole numbers are compared as such, since large ones are no floats."""
    if pa.types.is_integer(cells.type):
        return pa.scalar(max(-(2**63), min(2**63 - 1, rounded(value))), pa.int64())
    return pa.scalar(value, pa.float64())


def _unlike(cells: pa.ChunkedArray, check: ColumnCheck) -> Iterator[tuple[Any, str]]:
    if check.allowed:
        known = pc.is_in(cells, pa.array(check.allowed, pa.string()))
        yield pc.and_(pc.is_valid(cells), pc.invert(known)), f"not one of {', '.join(check.allowed)}"
    if check.pattern:
        yield pc.invert(pc.match_substring_regex(cells, f"^(?:{check.pattern})$")), f"does not match {check.pattern}"


def _too_long(cells: pa.ChunkedArray, check: ColumnCheck) -> Iterator[tuple[Any, str]]:
    if not (check.min_length or check.max_length):
        return
    if pa.types.is_list(cells.type):
        lengths = pc.list_value_length(cells)
    else:
        lengths = pc.binary_length(cells) if pa.types.is_binary(cells.type) else pc.utf8_length(cells)
    if check.min_length:
        yield pc.less(lengths, check.min_length), f"shorter than {check.min_length}"
    if check.max_length:
        yield pc.greater(lengths, check.max_length), f"longer than {check.max_length}"


def _moment(text: str, kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_date(kind):
        return pa.scalar(date.fromisoformat(text[:10]), kind)
    when = datetime.fromisoformat(text)
    return pa.scalar(when if when.tzinfo else when.replace(tzinfo=UTC), kind)


def _decodes(data: bytes) -> bool:
    """Whether the faster decoder, where there is one, takes the JPEG without a warning. If not, Pillow is asked."""
    try:
        from simplejpeg import decode_jpeg, decode_jpeg_header
    except ImportError:
        return False
    try:
        height, width, *_ = decode_jpeg_header(data)
        if height * width > MOST_PIXELS:
            return False
        decode_jpeg(data, strict=True)
    except ValueError:
        return False
    return True


def is_image(data: bytes | None) -> bool:
    """Whether the bytes decode as an image; missing ones are no fault."""
    from PIL import Image

    if data is None or (data[:2] == JPEG and _decodes(data)):
        return True
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True

"""How the cells of a column are written in text: what checks.columns and the operation parse both declare."""

import re
from datetime import UTC, datetime
from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from components.contracts.config import StepConfig
from components.contracts.spec import Column, ColumnType


class Written(StepConfig):
    """A type, and how its values are written."""

    type: ColumnType = Field(
        description="string, int64, float64, bool, date, timestamp, binary, image or audio (encoded bytes), floats or "
        "strings (lists)"
    )
    format: str = Field("", description="how dates and times are written (strptime); none: ISO 8601")
    timezone: str = Field("", description="IANA zone of clock times that have no offset; none: such times are refused")
    nan: Literal["refuse", "missing"] = Field("refuse", description="what a number that is NaN means")
    decimal: Literal[".", ","] = Field(".", description="what stands before a number's fraction in text")
    thousands: Literal["", ",", ".", " ", "'"] = Field("", description="what stands between a number's thousands")
    unit: str = Field("", description="what may stand before or after a number: $, kg, %")

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            if name:
                ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("there is no such time zone; write it as Europe/Berlin or UTC") from error
        return name

    @field_validator("format")
    @classmethod
    def _is_a_format(cls, text: str) -> str:
        try:
            now = datetime(2024, 2, 29, 13, 14, 15, tzinfo=UTC)
            datetime.strptime(now.strftime(text), text)  # noqa: DTZ007 - only tried
        except (ValueError, re.error) as error:
            raise ValueError(f"not a format of strptime: {error}") from error
        return text

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        number = self.type in {"int64", "float64"}
        if self.thousands == self.decimal:
            raise ValueError("thousands and decimal are the same sign")
        self._refuse(
            format=bool(self.format) and self.type not in {"date", "timestamp"},
            timezone=bool(self.timezone) and self.type != "timestamp",
            decimal=self.decimal == "," and not number,
            thousands=bool(self.thousands) and not number,
            unit=bool(self.unit) and not number,
        )
        return self

    def _refuse(self, **idle: bool) -> None:
        """Raise ValueError for the first setting that says nothing of the type."""
        name = next((name for name, is_idle in idle.items() if is_idle), None)
        if name is not None:
            raise ValueError(f"{name} says nothing of type {self.type}")

    def read_as(self, name: str) -> Column:
        """The column as it is read."""
        return Column(name=name, **{one: getattr(self, one) for one in Written.model_fields})

"""Dates and times: what comes round again as sine and cosine, and how much time has passed."""

from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, field_validator

from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import ColumnType, TensorSpec
from components.features.feature import NAME, OfNumbers, Prepared, State
from components.statistics.moments import Moments

ELAPSED = "elapsed"
START = np.datetime64("2000-01-01", "us")
SECOND, DAY = np.timedelta64(1, "s"), np.timedelta64(1, "D")
Part = Literal["time-of-day", "day-of-week", "day-of-month", "day-of-year", "month", "elapsed"]
Instants = NDArray[np.datetime64]


class Times(OfNumbers, StepConfig):
    """Date and time columns as one float32 tensor."""

    needs: ClassVar[ColumnType] = "timestamp"
    kind: Literal["datetime"] = "datetime"
    name: str = Field("times", pattern=NAME, description="the tensor's name; unique in the recipe")
    columns: tuple[str, ...] = Field(min_length=1, description="columns of dates or times")
    parts: tuple[Part, ...] = Field(
        ("time-of-day", "day-of-week", "day-of-year"),
        min_length=1,
        description="each a sine and a cosine; elapsed: time since the training rows' mean, in deviations",
    )
    timezone: str = Field("UTC", description="IANA zone whose clocks and calendar are meant")
    missing_flags: bool = Field(False, description="add one 0/1 number per column: was the cell missing")

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("there is no such time zone; write it as Europe/Berlin or UTC") from error
        return name

    def prepare(self, table: pa.Table) -> Prepared:
        """float64[rows, columns × parts], NaN where missing: turns in [0, 1), or days since 2000."""
        columns = [self._local(table[name], name) for name in self.columns]
        values = [_part(part, times) for times in columns for part in self.parts]
        return Prepared(values=np.stack(values, axis=1))

    def fit(self, prepared: Prepared) -> State:
        """Count, mean and sum of squared deviations of the days that have passed."""
        return Moments.of(np.asarray(prepared.values)[:, self._elapsed()]).state

    def merge(self, first: State, second: State) -> State:
        """Those of two disjoint sets of rows together."""
        return Moments.of_state(first).joined(Moments.of_state(second)).state

    def finish(self, partial: State) -> State:
        """Mean and deviation."""
        return {"mean": partial["mean"], "scale": Moments.of_state(partial).scale.tolist()}

    def spec(self, state: State) -> TensorSpec:
        """float32: two numbers for each turning part of each column, one for the time that has passed, and flags."""
        each = sum(1 if part == ELAPSED else 2 for part in self.parts) + self.missing_flags
        return TensorSpec(name=self.name, shape=(len(self.columns) * each,), dtype="float32")

    def apply(self, values: Any, state: State) -> Any:
        """Sines and cosines, then the time that has passed; zeros where a cell is missing."""
        import torch

        lost, elapsed = values.isnan(), self._elapsed()
        angles = values[:, ~torch.from_numpy(elapsed)] * (2 * torch.pi)
        mean, scale = (
            torch.tensor(state[name], dtype=values.dtype, device=values.device) for name in ("mean", "scale")
        )
        passed = (values[:, torch.from_numpy(elapsed)] - mean) / scale
        flags = [lost[:, :: len(self.parts)]] if self.missing_flags else []
        found = torch.cat([angles.sin(), angles.cos(), passed], 1).nan_to_num(0.0)
        return torch.cat([found.float(), *(flag.float() for flag in flags)], 1)

    def _elapsed(self) -> NDArray[np.bool_]:
        """Which stored columns are the time that has passed."""
        return np.array([part == ELAPSED for _ in self.columns for part in self.parts])

    def _local(self, cells: pa.ChunkedArray, name: str) -> Instants:
        """datetime64[us] by the clocks of the zone; a date is its midnight.

        Arrow knows a zone's summer time up to 2037.
        """
        kind = cells.type
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            cells = pc.local_timestamp(cells.cast(pa.timestamp("us", tz=self.timezone)))
        elif not pa.types.is_timestamp(kind) and not pa.types.is_date(kind):
            raise DataError(
                "E_TYPE",
                f"{name} is {kind}, no time",
                place=f"features.{self.name}",
                value=name,
                action="declare it as a date or timestamp in checks.columns, or make it one in cleaning (parse)",
            )
        found: Instants = cells.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
        return found


def _part(part: Part, times: Instants) -> NDArray[np.float64]:
    days = times.astype("M8[D]")
    months, years = times.astype("M8[M]"), times.astype("M8[Y]")
    match part:
        case "time-of-day":
            return _ratio(times - days, DAY)
        case "day-of-week":
            # 1970-01-01 was a Thursday; the week begins on Monday.
            return np.where(np.isnat(days), np.nan, (days.astype(np.int64) + 3) % 7 / 7)
        case "day-of-month":
            return _ratio(days - months, (months + 1).astype("M8[D]") - months.astype("M8[D]"))
        case "day-of-year":
            return _ratio(days - years, (years + 1).astype("M8[D]") - years.astype("M8[D]"))
        case "month":
            return np.where(np.isnat(days), np.nan, months.astype(np.int64) % 12 / 12)
        case "elapsed":
            return _ratio(times - START, DAY)


def _ratio(passed: Any, whole: Any) -> NDArray[np.float64]:
    found: NDArray[np.float64] = passed / whole
    return found

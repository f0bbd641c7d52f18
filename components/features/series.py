"""The newest steps of a series, on the scale of the series itself or of all training rows."""

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import ColumnType, TensorSpec
from components.features.feature import NAME, OfNumbers, Prepared, State, check_lists, finite
from components.statistics.moments import Moments


class Series(OfNumbers, StepConfig):
    """Columns of lists of numbers, a channel each, as a float32 tensor of their last steps."""

    needs: ClassVar[ColumnType] = "floats"
    kind: Literal["series"] = "series"
    name: str = Field("series", pattern=NAME, description="the tensor's name; unique in the recipe")
    columns: tuple[str, ...] = Field(min_length=1, description="columns of lists, one channel each")
    window: int = Field(ge=1, description="steps; of longer lists the last, shorter ones begin with their first number")
    differences: bool = Field(False, description="take each step minus the one before; the first becomes 0")
    scale: Literal["row", "training", "none"] = Field(
        "row", description="mean 0 and deviation 1: of each list for itself, over all training rows, or neither"
    )

    def prepare(self, table: pa.Table) -> Prepared:
        """float32[rows, channels, window]; zeros where a list is missing or empty.

        Raises:
            DataError: E_VALUE, a step is missing.
        """
        channels = [self._channel(table[name], name) for name in self.columns]
        values = np.stack(channels, axis=1)
        if self.differences:
            values = np.diff(values, axis=2, prepend=values[:, :, :1])
        if self.scale == "row":
            mean, deviation = values.mean(2, keepdims=True), values.std(2, keepdims=True)
            values = (values - mean) / np.where(np.ptp(values, axis=2, keepdims=True) > 0, deviation, 1)
        return Prepared(values=finite(values.astype(np.float32), self.name, ", ".join(self.columns)))

    def fit(self, prepared: Prepared) -> State:
        """Count, mean and sum of squared deviations per channel."""
        steps = prepared.values.astype(np.float64).transpose(0, 2, 1).reshape(-1, len(self.columns))
        return Moments.of(steps if self.scale == "training" else steps[:0]).state

    def merge(self, first: State, second: State) -> State:
        """Those of two disjoint sets of rows together."""
        return Moments.of_state(first).joined(Moments.of_state(second)).state

    def finish(self, partial: State) -> State:
        """Mean and deviation per channel."""
        return {"mean": partial["mean"], "scale": Moments.of_state(partial).scale.tolist()}

    def spec(self, state: State) -> TensorSpec:
        """float32[channels, window]."""
        return TensorSpec(name=self.name, shape=(len(self.columns), self.window), dtype="float32")

    def apply(self, values: Any, state: State) -> Any:
        """The steps on their scale."""
        import torch

        if self.scale != "training":
            return values
        mean, scale = (
            torch.tensor(state[name], dtype=torch.float32, device=values.device) for name in ("mean", "scale")
        )
        return (values - mean[:, None]) / scale[:, None]

    def _channel(self, column: pa.ChunkedArray, name: str) -> Any:
        check_lists(column, name, f"features.{self.name}")
        cells = column.combine_chunks()
        flat = np.asarray(pc.fill_null(cells.flatten().cast(pa.float64()), np.nan))
        if np.isnan(flat).any():
            raise DataError(
                "E_VALUE",
                f"a list of {name} lacks a step",
                place=f"features.{self.name}",
                value=name,
                allowed="numbers",
                action="fill it before, or set such rows aside",
            )
        lengths = np.asarray(pc.fill_null(pc.list_value_length(cells), 0)).astype(np.int64)
        ends = np.cumsum(lengths)
        at = ends[:, None] - np.arange(self.window, 0, -1)
        at = np.maximum(at, (ends - lengths)[:, None])
        if not len(flat):
            return np.zeros((len(cells), self.window))
        return np.where(lengths[:, None] > 0, flat[np.minimum(at, len(flat) - 1)], 0.0)

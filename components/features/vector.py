"""Lists of one length, an embedding or a spectrum, as one tensor."""

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import ColumnType, TensorSpec
from components.features.feature import NAME, Prepared, State
from components.statistics.moments import Moments


class Vector(StepConfig):
    """One column of lists of numbers, all of one length, as a float32 tensor."""

    needs: ClassVar[ColumnType] = "floats"
    kind: Literal["vector"] = "vector"
    name: str = Field("vector", pattern=NAME, description="the tensor's name; unique in the recipe")
    column: str = Field(min_length=1, description="a column of lists")
    length: int = Field(ge=1, description="how many numbers each has")
    standardise: bool = Field(False, description="bring every place of the list to mean 0 and deviation 1")

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def prepare(self, table: pa.Table) -> Prepared:
        """float32[rows, length]; zeros where the list is missing.

        Raises:
            DataError: E_VALUE, a list of another length, or one with a missing number.
        """
        cells = table[self.column].combine_chunks()
        lengths = pc.list_value_length(cells).fill_null(self.length).to_numpy(zero_copy_only=False)
        flat = cells.flatten()
        wrong = np.flatnonzero(lengths != self.length)
        if len(wrong) or flat.null_count:
            found = f"{int(lengths[wrong[0]])} numbers" if len(wrong) else "a missing number"
            raise DataError(
                "E_VALUE",
                f"a list of {self.column} has {found}",
                place=f"features.{self.name}",
                value=self.column,
                allowed=f"{self.length} numbers",
                action="correct features.length, or set such rows aside (checks.columns: min_length, max_length)",
            )
        values = np.zeros((table.num_rows, self.length), np.float32)
        values[np.asarray(cells.is_valid())] = flat.to_numpy(zero_copy_only=False).reshape(-1, self.length)
        return Prepared(values=values)

    def fit(self, prepared: Prepared) -> State:
        """Count, mean and sum of squared deviations per place."""
        moments = Moments.of(prepared.values.astype(np.float64)) if self.standardise else _nothing()
        return {"count": moments.count.tolist(), "mean": moments.mean.tolist(), "m2": moments.squares.tolist()}

    def merge(self, first: State, second: State) -> State:
        """Those of two disjoint sets of rows together."""
        moments = _moments(first).joined(_moments(second))
        return {"count": moments.count.tolist(), "mean": moments.mean.tolist(), "m2": moments.squares.tolist()}

    def finish(self, partial: State) -> State:
        """Mean and deviation; a place that is constant is divided by one."""
        moments = _moments(partial)
        return {"mean": partial["mean"], "scale": np.where(moments.deviation > 0, moments.deviation, 1.0).tolist()}

    def spec(self, state: State, stored: tuple[int, ...]) -> TensorSpec:
        """float32[length]."""
        return TensorSpec(name=self.name, shape=(self.length,), dtype="float32")

    def lookup(self, state: State, dictionaries: list[list[str]]) -> list[NDArray[np.int32]]:
        """Numbers have no codes."""
        return []

    def apply(self, values: Any, state: State) -> Any:
        """The numbers, standardised where the recipe says so."""
        if not self.standardise:
            return values
        import torch

        mean, scale = (
            torch.tensor(state[name], dtype=torch.float32, device=values.device) for name in ("mean", "scale")
        )
        return (values - mean) / scale


def _nothing() -> Moments:
    return Moments(np.zeros(0), np.zeros(0), np.zeros(0))


def _moments(partial: State) -> Moments:
    return Moments(np.array(partial["count"]), np.array(partial["mean"]), np.array(partial["m2"]))

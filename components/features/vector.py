"""Lists of one length, an embedding or a spectrum, as one tensor."""

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


class Vector(OfNumbers, StepConfig):
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
        check_lists(table[self.column], self.column, f"features.{self.name}")
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
        return Prepared(values=finite(values, self.name, self.column))

    def fit(self, prepared: Prepared) -> State:
        """Count, mean and sum of squared deviations per place."""
        values = np.asarray(prepared.values, np.float64)
        return Moments.of(values if self.standardise else values[:, :0]).state

    def merge(self, first: State, second: State) -> State:
        """Those of two disjoint sets of rows together."""
        return Moments.of_state(first).joined(Moments.of_state(second)).state

    def finish(self, partial: State) -> State:
        """Mean and deviation; a place that is constant is divided by one."""
        return {"mean": partial["mean"], "scale": Moments.of_state(partial).scale.tolist()}

    def spec(self, state: State) -> TensorSpec:
        """float32[length]."""
        return TensorSpec(name=self.name, shape=(self.length,), dtype="float32")

    def apply(self, values: Any, state: State) -> Any:
        """The numbers, standardised where the recipe says so."""
        if not self.standardise:
            return values
        import torch

        mean, scale = (
            torch.tensor(state[name], dtype=torch.float32, device=values.device) for name in ("mean", "scale")
        )
        return (values - mean) / scale

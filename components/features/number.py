"""Numbers, standardised; a missing one becomes the mean, with a flag beside it if asked for."""

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import ColumnType, TensorSpec
from components.features.feature import NAME, Prepared, State


class Number(StepConfig):
    """Number columns as one float32 tensor."""

    needs: ClassVar[ColumnType] = "float64"
    kind: Literal["number"] = "number"
    name: str = Field("numbers", pattern=NAME, description="the tensor's name; unique in the recipe")
    columns: tuple[str, ...] = Field(min_length=1, description="number columns")
    log: bool = Field(False, description="take log(1 + |x|) with x's sign first; for long tails")
    missing_flags: bool = Field(False, description="add one 0/1 number per column: was the cell missing")

    def prepare(self, table: pa.Table) -> Prepared:
        """float32[rows, columns], NaN where missing."""
        cells = [table[name].cast(pa.float64()).to_numpy(zero_copy_only=False) for name in self.columns]
        values = np.stack(cells, axis=1)
        if np.nanmax(np.abs(values), initial=0) > np.finfo(np.float32).max:
            raise DataError(
                "E_VALUE",
                "a number that 32 bits cannot hold",
                place=f"features.{self.name}",
                value=float(np.nanmax(np.abs(values))),
                allowed=f"up to {np.finfo(np.float32).max:.4g}",
                action="set a maximum for the column in checks.columns",
            )
        return Prepared(values=values.astype(np.float32))

    def fit(self, prepared: Prepared) -> State:
        """Count, mean and sum of squared deviations per column."""
        values = self._scaled(prepared.values.astype(np.float64))
        present = ~np.isnan(values)
        number = present.sum(0)
        mean = np.where(present, values, 0).sum(0) / np.maximum(number, 1)
        squares = (np.where(present, values - mean, 0) ** 2).sum(0)
        return {"count": number.tolist(), "mean": mean.tolist(), "m2": squares.tolist()}

    def merge(self, first: State, second: State) -> State:
        """Moments of two disjoint sets (Chan, Golub, LeVeque 1979)."""
        n1, n2 = np.array(first["count"]), np.array(second["count"])
        total = np.maximum(n1 + n2, 1)
        delta = np.array(second["mean"]) - np.array(first["mean"])
        mean = np.array(first["mean"]) + delta * n2 / total
        squares = np.array(first["m2"]) + np.array(second["m2"]) + delta**2 * n1 * n2 / total
        return {"count": (n1 + n2).tolist(), "mean": mean.tolist(), "m2": squares.tolist()}

    def finish(self, partial: State) -> State:
        """Mean and standard deviation; a constant column is divided by one."""
        variance = np.array(partial["m2"]) / np.maximum(np.array(partial["count"]), 1)
        scale = np.where(variance > 0, np.sqrt(variance), 1.0)
        return {"mean": partial["mean"], "scale": scale.tolist()}

    def spec(self, state: State, stored: tuple[int, ...]) -> TensorSpec:
        """float32[columns], twice as many with flags."""
        width = len(self.columns) * (2 if self.missing_flags else 1)
        return TensorSpec(name=self.name, shape=(width,), dtype="float32")

    def lookup(self, state: State, dictionaries: list[list[str]]) -> list[NDArray[np.int32]]:
        """Numbers have no codes."""
        return []

    def apply(self, values: Any, state: State) -> Any:
        """(x - mean) / deviation, 0 where missing."""
        import torch

        missing = torch.isnan(values)
        scaled = values.sign() * values.abs().log1p() if self.log else values
        mean = torch.tensor(state["mean"], dtype=torch.float32, device=values.device)
        scale = torch.tensor(state["scale"], dtype=torch.float32, device=values.device)
        standard = torch.where(missing, 0.0, (scaled - mean) / scale)
        return torch.cat([standard, missing.float()], 1) if self.missing_flags else standard

    def _scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sign(values) * np.log1p(np.abs(values)) if self.log else values

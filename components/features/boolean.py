"""Truths as zeros and ones."""

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ColumnType, TensorSpec
from components.features.feature import NAME, OfNumbers, Prepared, State, numbers_of

MISSING = -1


class Boolean(OfNumbers, StepConfig):
    """Columns of truths as one float32 tensor."""

    needs: ClassVar[ColumnType] = "bool"
    kind: Literal["boolean"] = "boolean"
    name: str = Field("truths", pattern=NAME, description="the tensor's name; unique in the recipe")
    columns: tuple[str, ...] = Field(min_length=1, description="columns that say true or false")
    missing_flags: bool = Field(False, description="add one 0/1 number per column: was the cell missing")

    def prepare(self, table: pa.Table) -> Prepared:
        """int8[rows, columns]: 0, 1, or -1 where missing."""
        cells = [numbers_of(table[name], name, f"features.{self.name}", pa.bool_()) for name in self.columns]
        return Prepared(values=np.nan_to_num(np.stack(cells, axis=1), nan=MISSING).astype(np.int8))

    def fit(self, prepared: Prepared) -> State:
        """How many cells of each column are true, and how many there are."""
        known = prepared.values != MISSING
        rows = [len(prepared.values)] * len(self.columns)
        return {"true": (prepared.values > 0).sum(axis=0).tolist(), "known": known.sum(axis=0).tolist(), "rows": rows}

    def merge(self, first: State, second: State) -> State:
        """Counts added up."""
        return {name: np.add(first[name], second[name]).tolist() for name in first}

    def finish(self, partial: State) -> State:
        """The share of each column's cells that are true: it stands for a missing one."""
        share = np.array(partial["true"]) / np.maximum(partial["known"], 1)
        known, rows = np.array(partial["known"]), np.array(partial["rows"])
        says = (self.missing_flags & (known > 0) & (known < rows)) | ((share > 0) & (share < 1))
        dead = [name for name, alive in zip(self.columns, says, strict=True) if not alive]
        return {"share": share.tolist(), "dead": dead}

    def counted(self, values: NDArray[np.int8], state: State) -> dict[str, int]:
        """How many of the stored cells are filled."""
        return {"filled": int((values == MISSING).sum())}

    def spec(self, state: State) -> TensorSpec:
        """float32[columns], twice as many with flags."""
        width = len(self.columns) * (1 + self.missing_flags)
        return TensorSpec(name=self.name, shape=(width,), dtype="float32")

    def apply(self, values: Any, state: State) -> Any:
        """Zeros and ones, and the share of ones where a cell is missing."""
        import torch

        lost = values == MISSING
        share = torch.tensor(state["share"], dtype=torch.float32, device=values.device)
        filled = torch.where(lost, share, values.float())
        return torch.cat([filled, lost.float()], 1) if self.missing_flags else filled

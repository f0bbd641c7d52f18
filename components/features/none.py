"""The target of what learns from its inputs alone."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import TensorSpec
from components.features.feature import OfNumbers, Prepared, State


class Nothing(OfNumbers, StepConfig):
    """No column is to be predicted."""

    kind: Literal["none"] = "none"
    name: Literal["none"] = Field("none", description="what stands for it in shards and batches")

    @property
    def columns(self) -> tuple[str, ...]:
        """It reads none."""
        return ()

    def prepare(self, table: pa.Table) -> Prepared:
        """uint8[rows] of zeros."""
        return Prepared(values=np.zeros(table.num_rows, np.uint8))

    def fit(self, prepared: Prepared) -> State:
        """There is nothing to know."""
        return {}

    def merge(self, first: State, second: State) -> State:
        """Nor of two."""
        return {}

    def finish(self, partial: State) -> State:
        """Nor of all."""
        return {}

    def spec(self, state: State) -> TensorSpec:
        """float32[]."""
        return TensorSpec(name=self.name, shape=(), dtype="float32")

    def apply(self, values: Any, state: State) -> Any:
        """Zeros, float32[rows]."""
        return values.float()

    def truth(self, prepared: Prepared, state: State) -> NDArray[np.int64]:
        """Zeros, int64[rows]."""
        return np.asarray(prepared.values, np.int64)

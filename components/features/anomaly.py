"""The target of a search for anomalies: which rows are some. They are not learnt from; the test part judges by them."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import TensorSpec
from components.features.feature import NAME, OfNumbers, Prepared, State


class Anomaly(OfNumbers, StepConfig):
    """A column some of whose values mark a row as an anomaly."""

    kind: Literal["anomaly"] = "anomaly"
    name: str = Field("anomaly", pattern=NAME, description="the tensor's name; unique in the recipe")
    column: str = Field(min_length=1, description="the column that says so")
    values: tuple[str, ...] = Field(min_length=1, description="what it says of anomalies, as text")

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def prepare(self, table: pa.Table) -> Prepared:
        """uint8[rows]: 1 for an anomaly."""
        marked = pc.is_in(table[self.column].cast(pa.string()), pa.array(self.values))
        return Prepared(values=np.asarray(marked, np.uint8))

    def fit(self, prepared: Prepared) -> State:
        """How many rows are none."""
        return {"normal": int((prepared.values == 0).sum())}

    def merge(self, first: State, second: State) -> State:
        """Numbers of rows added up."""
        return {"normal": first["normal"] + second["normal"]}

    def finish(self, partial: State) -> State:
        """The same.

        Raises:
            DataError: E_LABEL, every training row is an anomaly.
        """
        if not partial["normal"]:
            raise DataError(
                "E_LABEL",
                "every training row is an anomaly",
                place=f"target.column {self.column}",
                value=", ".join(self.values),
                action="name fewer values, or bring rows that are none",
            )
        return partial

    def spec(self, state: State) -> TensorSpec:
        """float32[]."""
        return TensorSpec(name=self.name, shape=(), dtype="float32")

    def apply(self, values: Any, state: State) -> Any:
        """float32[rows]: 1 for an anomaly."""
        return values.float()

    def counts(self, values: Any) -> Any:
        """float32[rows]: how much each row of a batch counts in training and in the choice of the epoch."""
        return 1 - values

    def truth(self, prepared: Prepared, state: State) -> NDArray[np.int64]:
        """int64[rows]: 1 for an anomaly."""
        return np.asarray(prepared.values, np.int64)

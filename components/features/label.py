"""The target of a classification: one column whose values are the classes."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import TensorSpec
from components.features.feature import NAME, Prepared, State, add_counts, count, encode


class Label(StepConfig):
    """A text, whole-number or boolean column as a class index."""

    kind: Literal["label"] = "label"
    name: str = Field("label", pattern=NAME, description="the tensor's name; unique in the recipe")
    column: str = Field(description="the column to predict")

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def prepare(self, table: pa.Table) -> Prepared:
        """int32[rows, 1] codes into the partition's own dictionary."""
        return encode(table, self.columns)

    def fit(self, prepared: Prepared) -> State:
        """How often each class occurs."""
        return {"counts": count(prepared)}

    def merge(self, first: State, second: State) -> State:
        """Counts added up."""
        return {"counts": add_counts(first["counts"], second["counts"])}

    def finish(self, partial: State) -> State:
        """The classes in order (numbers by size), and how often each occurs.

        Raises:
            DataError: E_LABEL, fewer than two classes.
        """
        counts = partial["counts"][0]
        if len(counts) < 2:
            raise DataError(
                "E_LABEL",
                "the training part has fewer than two classes",
                place=f"target.column {self.column}",
                value=sorted(counts),
                action="name another target, or bring data of both kinds",
            )
        whole = all(value.lstrip("-").isdigit() for value in counts)
        classes = sorted(counts, key=int) if whole else sorted(counts)
        return {"classes": classes, "counts": [counts[value] for value in classes]}

    def spec(self, state: State) -> TensorSpec:
        """int64[] with the number of classes."""
        return TensorSpec(name=self.name, shape=(), dtype="int64", classes=(len(state["classes"]),))

    def lookup(self, state: State, dictionaries: list[list[str]]) -> list[NDArray[np.int32]]:
        """Class index of each entry; -1 for one that no training row has."""
        index = {value: position for position, value in enumerate(state["classes"])}
        return [np.array([*(index.get(entry, -1) for entry in dictionaries[0]), -1], np.int32)]

    def truth(self, prepared: Prepared, state: State) -> NDArray[np.int64]:
        """The class index of each row, -1 for a class that no training row has."""
        (table,) = self.lookup(state, prepared.dictionaries)
        return np.asarray(table[prepared.values[:, 0]], np.int64)

    def apply(self, values: Any, state: State) -> Any:
        """int64[rows]."""
        return values[:, 0].long()

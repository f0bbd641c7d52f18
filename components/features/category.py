"""Categories as indices into a vocabulary that the training part fixed; 0 stands for unknown, and for missing."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import TensorSpec
from components.features.feature import NAME, Prepared, State, add_counts, count, encode, one_hot


class Category(StepConfig):
    """Text, whole-number or boolean columns as one tensor of indices, or of zeros and ones."""

    kind: Literal["category"] = "category"
    name: str = Field("categories", pattern=NAME, description="the tensor's name; unique in the recipe")
    columns: tuple[str, ...] = Field(min_length=1, description="columns whose values are names, not amounts")
    min_count: int = Field(1, ge=1, description="a value rarer than this in the training part counts as unknown")
    max_values: int = Field(10_000, ge=1, description="at most this many values per column, the most frequent")

    encoding: Literal["index", "one-hot"] = Field(
        "index", description="index: one whole number a column, for an embedding; one-hot: one 0/1 a value"
    )
    missing: Literal["own", "mode"] = Field(
        "own", description="what a missing cell counts as: own: like an unknown value; mode: the most frequent value"
    )

    def prepare(self, table: pa.Table) -> Prepared:
        """int32[rows, columns] codes into the partition's own dictionaries."""
        return encode(table, self.columns)

    def fit(self, prepared: Prepared) -> State:
        """How often each value occurs."""
        return {"counts": count(prepared), "missing": (prepared.values < 0).sum(axis=0).tolist()}

    def merge(self, first: State, second: State) -> State:
        """Counts added up."""
        missing = np.add(first["missing"], second["missing"]).tolist()
        return {"counts": add_counts(first["counts"], second["counts"]), "missing": missing}

    def finish(self, partial: State) -> State:
        """Per column the values, the most frequent first; index 0 is left free.

        A column without a value is dead, and so is one with a single value that no cell lacks.
        """
        vocabularies = []
        for counts in partial["counts"]:
            frequent = [(-number, value) for value, number in counts.items() if number >= self.min_count]
            vocabularies.append([value for _, value in sorted(frequent)[: self.max_values]])
        cells = zip(self.columns, partial["counts"], partial["missing"], strict=True)
        dead = [name for name, counts, missing in cells if not counts or (len(counts) == 1 and not missing)]
        return {"vocabularies": vocabularies, "dead": dead}

    def counted(self, values: NDArray[np.int32], state: State) -> dict[str, int]:
        """How many of the stored cells are missing and count as a value of their column."""
        return {"filled": int((values < 0).sum())} if self.missing == "mode" else {}

    def spec(self, state: State) -> TensorSpec:
        """int64[columns] with the size of each vocabulary plus one, or float32 with a place for each."""
        sizes = self._sizes(state)
        if self.encoding == "one-hot":
            return TensorSpec(name=self.name, shape=(sum(sizes),), dtype="float32")
        return TensorSpec(name=self.name, shape=(len(sizes),), dtype="int64", classes=sizes)

    def lookup(self, state: State, dictionaries: list[list[str]]) -> list[NDArray[np.int32]]:
        """Vocabulary index + 1 of each entry; 0 for unknown ones, and for a missing cell unless it is the mode."""
        tables = []
        for vocabulary, entries in zip(state["vocabularies"], dictionaries, strict=True):
            lost = 1 if self.missing == "mode" and vocabulary else 0
            index = {value: position + 1 for position, value in enumerate(vocabulary)}
            tables.append(np.array([*(index.get(entry, 0) for entry in entries), lost], np.int32))
        return tables

    def apply(self, values: Any, state: State) -> Any:
        """The indices as int64, or zeros and ones."""
        return one_hot(values.long(), self._sizes(state)) if self.encoding == "one-hot" else values.long()

    def _sizes(self, state: State) -> tuple[int, ...]:
        return tuple(len(vocabulary) + 1 for vocabulary in state["vocabularies"])

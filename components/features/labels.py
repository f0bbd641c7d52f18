"""The target of a multi-label classification: a column of any number of classes for each row."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from components.adapters.shard_files import Ragged
from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import TensorSpec
from components.features.feature import NAME, Prepared, State, add_counts


class Labels(StepConfig):
    """Lists of classes, or classes written one after the other in a text."""

    kind: Literal["labels"] = "labels"
    name: str = Field("labels", pattern=NAME, description="the tensor's name; unique in the recipe")
    column: str = Field(min_length=1, description="the column to predict: lists of texts, or text")
    missing: Literal["refuse", "no class"] = Field(
        "refuse", description="what a missing cell is: a mistake, or a row that has no class"
    )
    separator: str = Field("", description="what stands between the classes of a text, such as |")

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def prepare(self, table: pa.Table) -> Prepared:
        """Ragged int32 codes into the partition's own dictionary; a class that a row names twice counts once.

        Raises:
            DataError: E_TYPE, the column has no lists of texts, and nothing separates classes in a text.
        """
        lists = self._lists(table[self.column].combine_chunks())
        names = pc.utf8_trim_whitespace(lists.flatten())
        rows = np.repeat(np.arange(len(lists)), np.asarray(pc.fill_null(pc.list_value_length(lists), 0)))
        named = np.asarray(pc.fill_null(pc.not_equal(names, ""), False))
        encoded = names.filter(pa.array(named)).dictionary_encode()
        entries = encoded.dictionary.to_pylist()
        # Of each row the codes in order, each once.
        width = max(len(entries), 1)
        once = np.unique(rows[named] * width + np.asarray(encoded.indices))
        offsets = np.searchsorted(once // width, np.arange(len(lists) + 1))
        return Prepared(
            values=Ragged(flat=(once % width).astype(np.int32), offsets=offsets.astype(np.int64)),
            dictionaries=[entries],
        )

    def fit(self, prepared: Prepared) -> State:
        """How many rows have each class, and how many rows there are."""
        (entries,) = prepared.dictionaries
        numbers = np.bincount(prepared.values.flat, minlength=len(entries)).tolist()
        known = {entry: number for entry, number in zip(entries, numbers, strict=True) if number}
        return {"rows": len(prepared.values), "with": [known]}

    def merge(self, first: State, second: State) -> State:
        """Numbers of rows added up."""
        return {"rows": first["rows"] + second["rows"], "with": add_counts(first["with"], second["with"])}

    def finish(self, partial: State) -> State:
        """The classes in order, and how many of the training rows have each, also as a share.

        Raises:
            DataError: E_LABEL, all training rows have the same classes.
        """
        rows, (known,) = partial["rows"], partial["with"]
        if all(number == rows for number in known.values()):
            raise DataError(
                "E_LABEL",
                "all training rows have the same classes" if known else "no training row has a class",
                place=f"target.column {self.column}",
                value=", ".join(sorted(known)) or None,
                action="name another target, or bring data of more kinds",
            )
        classes = sorted(known)
        counts = [known[name] for name in classes]
        return {"classes": classes, "with": counts, "shares": [count / rows for count in counts]}

    def spec(self, state: State) -> TensorSpec:
        """float32[classes]."""
        return TensorSpec(name=self.name, shape=(len(state["classes"]),), dtype="float32")

    def lookup(self, state: State, dictionaries: list[list[str]]) -> Any:
        """The index of each class; of one that no training row has, none."""
        index = {name: at for at, name in enumerate(state["classes"])}
        return Ragged.of([*([index[one]] if one in index else [] for one in dictionaries[0]), []], np.int32)

    def apply(self, values: Any, state: State) -> Any:
        """float32[rows, classes]: 1 for each class that a row has."""
        import torch

        flat, offsets = values
        count = len(offsets) - 1
        rows = torch.repeat_interleave(torch.arange(count, device=flat.device), offsets.diff())
        found = torch.zeros(count, len(state["classes"]), device=flat.device)
        found[rows, flat.long()] = 1.0
        return found

    def truth(self, prepared: Prepared, state: State) -> NDArray[np.int64]:
        """int64[rows, classes]: 1 for each class that a row has; one that no training row has is left out."""
        index = {name: at for at, name in enumerate(state["classes"])}
        table = np.array([*(index.get(one, -1) for one in prepared.dictionaries[0]), -1])
        at = table[prepared.values.flat]
        rows = np.repeat(np.arange(len(prepared.values)), np.diff(prepared.values.offsets))
        found = np.zeros((len(prepared.values), len(index)), np.int64)
        found[rows[at >= 0], at[at >= 0]] = 1
        return found

    def _lists(self, cells: pa.Array) -> pa.ListArray:
        if self.separator and (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
            return pc.split_pattern(cells.cast(pa.string()), self.separator)
        try:
            return cells.cast(pa.list_(pa.string()))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                "E_TYPE",
                f"{self.column} is {cells.type}, no list of texts",
                place="target.column",
                value=self.column,
                action="say what separates the classes of a text (separator), or name a column of lists",
            ) from error

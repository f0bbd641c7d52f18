"""Text as a bag of words: how often each occurs, whether it does, or TF-IDF."""

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from components.adapters.shard_files import Ragged
from components.contracts.config import StepConfig
from components.contracts.spec import ColumnType, TensorSpec
from components.features import pieces
from components.features.feature import NAME, Prepared, State


class Bag(StepConfig):
    """One text column as a float32 tensor with a number for each known word."""

    needs: ClassVar[ColumnType] = "string"
    kind: Literal["bag"] = "bag"
    name: str = Field("words", pattern=NAME, description="the tensor's name; unique in the recipe")
    column: str = Field(min_length=1, description="a text column")
    vocabulary: int = Field(5000, ge=1, description="words at most: those that most training rows have")
    min_rows: int = Field(2, ge=1, description="a word that fewer training rows have is left out")
    max_share: float = Field(1.0, gt=0, le=1, description="so is one that a larger share of them has")
    lowercase: bool = Field(True, description="whether A and a are the same")
    weight: Literal["count", "binary", "tf-idf"] = Field(
        "tf-idf",
        description="tf-idf: count times ln((1 + rows) / (1 + rows with it)) + 1, each row brought to length 1",
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def prepare(self, table: pa.Table) -> Prepared:
        """Ragged int32 codes of words into the partition's own dictionary."""
        return pieces.cut(pieces.plain(table[self.column]), "word", lowercase=self.lowercase)

    def fit(self, prepared: Prepared) -> State:
        """In how many rows each word stands."""
        (entries,) = prepared.dictionaries
        rows = np.repeat(np.arange(len(prepared.values)), np.diff(prepared.values.offsets))
        once = np.unique(rows * max(len(entries), 1) + prepared.values.flat) % max(len(entries), 1)
        numbers = np.bincount(once, minlength=len(entries)).tolist()
        known = {entry: number for entry, number in zip(entries, numbers, strict=True) if number}
        return {"rows": len(prepared.values), "counts": known}

    def merge(self, first: State, second: State) -> State:
        """Counts added up."""
        counts = pieces.added(first["counts"], second["counts"])
        return {"rows": first["rows"] + second["rows"], "counts": counts}

    def finish(self, partial: State) -> State:
        """The words, those of most rows first, and what each one's count is multiplied by."""
        rows = partial["rows"]
        known = [
            (-number, word)
            for word, number in partial["counts"].items()
            if self.min_rows <= number <= self.max_share * rows
        ]
        chosen = sorted(known)[: self.vocabulary]
        weights = [float(np.log((1 + rows) / (1 - number)) + 1) for number, _ in chosen]
        dead = [] if chosen else [self.column]
        return {
            "words": [word for _, word in chosen],
            "weights": weights if self.weight == "tf-idf" else [],
            "dead": dead,
        }

    def spec(self, state: State) -> TensorSpec:
        """float32[words]."""
        return TensorSpec(name=self.name, shape=(len(state["words"]),), dtype="float32")

    def lookup(self, state: State, dictionaries: list[list[str]]) -> Any:
        """The place of each word; of one that is not known, none."""
        places = {word: at for at, word in enumerate(state["words"])}
        found = [[places[entry]] if entry in places else [] for entry in dictionaries[0]]
        return Ragged.of([*found, []], np.int32)

    def apply(self, values: Any, state: State) -> Any:
        """Counts, or what is made of them."""
        import torch

        flat, offsets = values
        count, width = len(offsets) - 1, len(state["words"])
        rows = torch.repeat_interleave(torch.arange(count, device=flat.device), offsets.diff())
        found = torch.zeros(count, width, device=flat.device)
        found.index_put_((rows, flat.long()), torch.ones(len(flat), device=flat.device), accumulate=True)
        if self.weight == "binary":
            return (found > 0).float()
        if self.weight == "count":
            return found
        weighted = found * torch.tensor(state["weights"], dtype=torch.float32, device=flat.device)
        return torch.nn.functional.normalize(weighted, dim=1)

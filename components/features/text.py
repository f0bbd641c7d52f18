"""Text as a sequence of tokens."""

from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ColumnType, TensorSpec
from components.features import pieces
from components.features.feature import NAME, Prepared, State
from components.features.pieces import Tokens


class OfTokens(StepConfig):
    """What features of tokens share: their vocabulary, and how it is fitted."""

    needs: ClassVar[ColumnType] = "string"
    tokens: Tokens = Field("word", description="what one token is; the vocabulary is fitted on the training rows")
    vocabulary: int = Field(20_000, ge=4, description="tokens at most, the most frequent, with three that are special")
    min_count: int = Field(2, ge=1, description="a token rarer than this in the training part is unknown")
    lowercase: bool = Field(True, description="whether A and a are the same")
    length: int = Field(0, ge=0, description="tokens of each row, cut or filled up; 0: of the longest row of a batch")

    @property
    def dear(self) -> bool:
        """Whether the state is kept when rows change: byte pairs are counted anew from all that there is."""
        return self.tokens == "byte-pair"

    def fit(self, prepared: Prepared) -> State:
        """How often each piece occurs."""
        return {"counts": pieces.counted(prepared)}

    def merge(self, first: State, second: State) -> State:
        """Counts added up."""
        return {"counts": pieces.added(first["counts"], second["counts"])}

    def finish(self, partial: State) -> State:
        """The tokenizer."""
        fitted = pieces.vocabulary(partial["counts"], self.tokens, self.vocabulary, self.min_count)
        return {"tokenizer": fitted}

    def lookup(self, state: State, dictionaries: list[list[str]]) -> Any:
        """The tokens of each piece."""
        return pieces.encoded(state["tokenizer"], dictionaries[0])


class Text(OfTokens):
    """One text column as an int64 tensor of tokens; 0 fills up, 1 stands for what is unknown."""

    kind: Literal["text"] = "text"
    name: str = Field("text", pattern=NAME, description="the tensor's name; unique in the recipe")
    column: str = Field(min_length=1, description="a text column")
    keep: Literal["start", "end"] = Field("start", description="which tokens of a longer text stay")

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def prepare(self, table: pa.Table) -> Prepared:
        """Ragged int32 codes of pieces into the partition's own dictionary."""
        return pieces.cut(pieces.plain(table[self.column]), self.tokens, lowercase=self.lowercase)

    def spec(self, state: State) -> TensorSpec:
        """int64[length]; -1 where it is as long as the longest row of a batch."""
        size = len(state["tokenizer"]["vocab"])
        return TensorSpec(name=self.name, shape=(self.length or -1,), dtype="int64", classes=(size,), sequence=True)

    def apply(self, values: Any, state: State) -> Any:
        """The tokens, cut or filled up."""
        return pieces.padded(values, self.length, keep_end=self.keep == "end")

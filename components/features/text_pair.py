"""Two texts of a row as one sequence: a question and its answer, a premise and what may follow from it."""

from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ColumnType, TensorSpec
from components.features import pieces
from components.features.feature import NAME, Prepared, State
from components.features.pieces import CUT, SEPARATOR, Tokens


class TextPair(StepConfig):
    """Two text columns as an int64 tensor: tokens of both with token 2 between them, and which text each is of."""

    needs: ClassVar[ColumnType] = "string"
    kind: Literal["text-pair"] = "text-pair"
    name: str = Field("pair", pattern=NAME, description="the tensor's name; unique in the recipe")
    first: str = Field(min_length=1, description="a text column")
    second: str = Field(min_length=1, description="another text column")
    tokens: Tokens = Field("word", description="what one token is; the vocabulary is fitted on the training rows")
    vocabulary: int = Field(20_000, ge=4, description="tokens at most, the most frequent, with three that are special")
    min_count: int = Field(2, ge=1, description="a token rarer than this in the training part is unknown")
    lowercase: bool = Field(True, description="whether A and a are the same")
    length: int = Field(0, ge=0, description="tokens of each row, cut or filled up; 0: of the longest row of a batch")

    @property
    def columns(self) -> tuple[str, ...]:
        """Both."""
        return (self.first, self.second)

    def prepare(self, table: pa.Table) -> Prepared:
        """Ragged int32 codes of pieces into the partition's own dictionary."""
        texts = [pc.replace_substring(pc.fill_null(table[one].cast(pa.string()), ""), CUT, " ") for one in self.columns]
        joined = pc.binary_join_element_wise(*texts, CUT)
        return pieces.cut(joined, self.tokens, lowercase=self.lowercase)

    def fit(self, prepared: Prepared) -> State:
        """How often each piece occurs, in both texts together."""
        return {"counts": pieces.counted(prepared)}

    def merge(self, first: State, second: State) -> State:
        """Counts added up."""
        return {"counts": pieces.added(first["counts"], second["counts"])}

    def finish(self, partial: State) -> State:
        """The tokenizer."""
        fitted = pieces.vocabulary(partial["counts"], self.tokens, self.vocabulary, self.min_count)
        return {"tokenizer": fitted}

    def spec(self, state: State) -> TensorSpec:
        """int64[2, length]: tokens, and 0 for the first text or 1 for the second."""
        size = len(state["tokenizer"]["vocab"])
        return TensorSpec(name=self.name, shape=(2, self.length or -1), dtype="int64", classes=(size, 2), sequence=True)

    def lookup(self, state: State, dictionaries: list[list[str]]) -> Any:
        """The tokens of each piece."""
        return pieces.encoded(state["tokenizer"], dictionaries[0])

    def apply(self, values: Any, state: State) -> Any:
        """The tokens, cut or filled up, and the text that each is of."""
        import torch

        tokens = pieces.padded(values, self.length)
        second = ((tokens == SEPARATOR).cumsum(1) > 0) & (tokens != pieces.PADDING)
        return torch.stack([tokens, second.long()], 1)

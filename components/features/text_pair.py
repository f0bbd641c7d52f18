"""Two texts of a row as one sequence: a question and its answer, a premise and what may follow from it."""

from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from components.contracts.spec import TensorSpec
from components.features import pieces
from components.features.feature import NAME, Prepared, State
from components.features.pieces import CUT, SEPARATOR
from components.features.text import OfTokens


class TextPair(OfTokens):
    """Two text columns as an int64 tensor: tokens of both with token 2 between them, and which text each is of."""

    kind: Literal["text-pair"] = "text-pair"
    name: str = Field("pair", pattern=NAME, description="the tensor's name; unique in the recipe")
    first: str = Field(min_length=1, description="a text column")
    second: str = Field(min_length=1, description="another text column")

    @property
    def columns(self) -> tuple[str, ...]:
        """Both."""
        return (self.first, self.second)

    def prepare(self, table: pa.Table) -> Prepared:
        """Ragged int32 codes of pieces into the partition's own dictionary."""
        texts = [pc.fill_null(pieces.plain(table[one]), "") for one in self.columns]
        joined = pc.binary_join_element_wise(*texts, CUT)
        return pieces.cut(joined, self.tokens, lowercase=self.lowercase)

    def spec(self, state: State) -> TensorSpec:
        """int64[2, length]: tokens, and 0 for the first text or 1 for the second."""
        size = len(state["tokenizer"]["vocab"])
        return TensorSpec(name=self.name, shape=(2, self.length or -1), dtype="int64", classes=(size, 2), sequence=True)

    def apply(self, values: Any, state: State) -> Any:
        """The tokens, cut or filled up, and the text that each is of."""
        import torch

        tokens = pieces.padded(values, self.length)
        second = ((tokens == SEPARATOR).cumsum(1) > 0) & (tokens != pieces.PADDING)
        return torch.stack([tokens, second.long()], 1)

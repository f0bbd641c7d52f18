"""The Transformer's decoder alone (Radford et al. 2018): each token is told by those before it."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from components.contracts.spec import TensorSpec
from components.models.stacked import OfBlocks


class Decoder(OfBlocks):
    """Blocks of attention that look back only, over one text's tokens; their vectors are also the answer's."""

    serves: ClassVar[tuple[str, ...]] = ("language-model",)

    kind: Literal["decoder"] = "decoder"

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from one text, int64[batch, tokens], to scores of next tokens, float32[batch, tokens, words].

        Raises:
            ConfigError: E_CONFIG, there is no text, or it is longer than the table of positions.
        """
        from components.models.sequences import single_text
        from components.models.writing import Writer

        text = single_text(inputs, self.kind)
        blocks = self.blocks(text, back_only=True)
        longest = self.longest if self.positions == "learned" else 0
        return Writer(
            text.name, outputs[0].name, text.classes[0], blocks, width=self.width, dropout=self.dropout, longest=longest
        )

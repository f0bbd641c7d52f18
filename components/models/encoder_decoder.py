"""The Transformer (Vaswani et al. 2017): one text is read as a whole, another is told token by token, looking at it."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec
from components.models.stacked import OfBlocks


class EncoderDecoder(OfBlocks):
    """As many blocks of attention for the text that is read as for the one that is told, whose first token is given."""

    serves: ClassVar[tuple[str, ...]] = ("language-model",)

    kind: Literal["encoder-decoder"] = "encoder-decoder"

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from two texts, int64[batch, tokens], to scores of next tokens, float32[batch, tokens, words].

        Raises:
            ConfigError: E_CONFIG, there are not two texts, or one is longer than the table of positions.
        """
        from components.models.sequences import Steps
        from components.models.writing import Translator

        told = [one for one in inputs if one.name == outputs[0].name]
        read = [one for one in inputs if one.name != outputs[0].name and one.sequence and len(one.classes) == 1]
        if len(inputs) != 2 or not told or not read:
            raise ConfigError(
                "E_CONFIG",
                f"{self.kind} reads one text and tells another",
                place="model.kind",
                value=[one.name for one in inputs],
                allowed="two features of kind text",
                action="change the features or the model",
            )
        return Translator(
            told[0].name,
            outputs[0].name,
            told[0].classes[0],
            self.blocks(told[0], back_only=True, across=True),
            reader=Steps(read[0], self.width, self.dropout),
            encoder=self.blocks(read[0]),
            read=read[0].name,
            width=self.width,
            dropout=self.dropout,
            longest=self.longest if self.positions == "learned" else 0,
        )

"""The Transformer's decoder alone (Radford et al. 2018): each token is told by those before it."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec


class Decoder(StepConfig):
    """Blocks of attention that look back only, over one text's tokens; their vectors are also the answer's."""

    serves: ClassVar[tuple[str, ...]] = ("language-model",)

    kind: Literal["decoder"] = "decoder"
    width: int = Field(64, ge=2, description="of each step's vector")
    heads: int = Field(4, ge=1, description="of attention; they divide the width")
    layers: int = Field(2, ge=1, le=64, description="blocks, one above the other")
    feed_forward: int = Field(0, ge=0, description="inner width of a block's net; 0: four times the width")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of activations zeroed in training")
    positions: Literal["sinusoidal", "rotary", "learned"] = Field("rotary", description="as of kind transformer")
    longest: int = Field(512, ge=1, description="places of the learnt table")

    @model_validator(mode="after")
    def _divided(self) -> Self:
        if self.width % self.heads or (self.positions == "rotary" and self.width // self.heads % 2):
            raise ValueError("model.heads have to divide model.width, for rotary positions into even parts")
        return self

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from one text, int64[batch, tokens], to scores of next tokens, float32[batch, tokens, words].

        Raises:
            ConfigError: E_CONFIG, there is no text, or it is longer than the table of positions.
        """
        from components.models.writing import Writer

        if len(inputs) != 1 or not inputs[0].sequence or len(inputs[0].classes) != 1:
            raise ConfigError(
                "E_CONFIG",
                "a decoder reads one text and nothing else",
                place="model.kind",
                value=[one.name for one in inputs],
                allowed="one feature of kind text",
                action="change the features or the model",
            )
        if self.positions == "learned" and inputs[0].shape[-1] > self.longest:
            raise ConfigError(
                "E_CONFIG",
                "the sequence is longer than the table of positions",
                place="model.longest",
                value=inputs[0].shape[-1],
                allowed=f"up to {self.longest}",
                action=f"raise model.longest, or set the length of {inputs[0].name}",
            )
        return Writer(
            inputs[0].name,
            outputs[0].name,
            inputs[0].classes[0],
            self.width,
            heads=self.heads,
            layers=self.layers,
            inner=self.feed_forward or 4 * self.width,
            dropout=self.dropout,
            positions=self.positions,
            longest=self.longest,
        )

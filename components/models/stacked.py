"""What models of attention share: blocks one above the other, and how a step's place is told."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec


class OfBlocks(StepConfig):
    """Blocks of attention and a feed-forward net."""

    width: int = Field(64, ge=2, description="of each step's vector")
    heads: int = Field(4, ge=1, description="of attention; they divide the width")
    layers: int = Field(2, ge=1, le=64, description="blocks, one above the other")
    feed_forward: int = Field(0, ge=0, description="inner width of a block's net; 0: four times the width")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of activations zeroed in training")
    positions: Literal["sinusoidal", "rotary", "learned"] = Field(
        "sinusoidal",
        description="how a step's place is told: added waves, turned queries and keys (Su et al. 2021), "
        "or a learnt table of `longest` places",
    )
    longest: int = Field(512, ge=1, description="places of the learnt table")

    @model_validator(mode="after")
    def _divided(self) -> Self:
        if self.width % self.heads or (self.positions == "rotary" and self.width // self.heads % 2):
            raise ValueError("model.heads have to divide model.width, for rotary positions into even parts")
        return self

    def blocks(self, spec: TensorSpec, *, back_only: bool = False, across: bool = False) -> Any:
        """The blocks for one sequence.

        With `back_only` no step looks at those behind it, with `across` each looks at what was read.

        Raises:
            ConfigError: E_CONFIG, the sequence is longer than the table of positions.
        """
        from components.models.attention import Encoder

        if self.positions == "learned" and spec.shape[-1] > self.longest:
            raise ConfigError(
                "E_CONFIG",
                "the sequence is longer than the table of positions",
                place="model.longest",
                value=spec.shape[-1],
                allowed=f"up to {self.longest}",
                action=f"raise model.longest, or set the length of {spec.name}",
            )
        return Encoder(
            self.width,
            heads=self.heads,
            layers=self.layers,
            inner=self.feed_forward or 4 * self.width,
            dropout=self.dropout,
            positions=self.positions,
            longest=self.longest,
            back_only=back_only,
            across=across,
        )

"""The Transformer's encoder (Vaswani et al. 2017) over one sequence, norms first (Xiong et al. 2020)."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec


class Transformer(StepConfig):
    """Blocks of attention and a feed-forward net over a text's tokens or a series' steps."""

    kind: Literal["transformer"] = "transformer"
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
    pool: Literal["mean", "max", "last"] = Field("mean", description="which steps the answer is made of")

    @model_validator(mode="after")
    def _divided(self) -> Self:
        if self.width % self.heads or (self.positions == "rotary" and self.width // self.heads % 2):
            raise ValueError("model.heads have to divide model.width, for rotary positions into even parts")
        return self

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from one sequence, int64[batch, steps] or float32[batch, channels, steps], to named outputs."""
        from torch import Tensor, nn

        from components.models.attention import Encoder
        from components.models.blocks import Keyed, Single
        from components.models.sequences import Steps, pooled, single_sequence

        spec, config = single_sequence(inputs, self.kind), self
        if self.positions == "learned" and spec.shape[-1] > self.longest:
            raise ConfigError(
                "E_CONFIG",
                "the sequence is longer than the table of positions",
                place="model.longest",
                value=spec.shape[-1],
                allowed=f"up to {self.longest}",
                action=f"raise model.longest, or set the length of {spec.name}",
            )

        class Trunk(nn.Module):
            """Steps, encoded and pooled."""

            def __init__(self) -> None:
                super().__init__()
                self.steps = Steps(spec, config.width, config.dropout)
                same = self.steps.width == config.width
                self.into = nn.Identity() if same else nn.Linear(self.steps.width, config.width)
                self.encoder = Encoder(
                    config.width,
                    heads=config.heads,
                    layers=config.layers,
                    inner=config.feed_forward or 4 * config.width,
                    dropout=config.dropout,
                    positions=config.positions,
                    longest=config.longest,
                )

            def forward(self, values: Tensor) -> Tensor:
                steps, lengths = self.steps(values)
                return pooled(self.encoder(self.into(steps), lengths), lengths, config.pool)

        return Keyed(Single(spec.name, Trunk()), self.width, outputs)

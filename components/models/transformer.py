"""The Transformer's encoder (Vaswani et al. 2017) over one sequence, norms first (Xiong et al. 2020)."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from components.contracts.spec import TensorSpec
from components.models.stacked import OfBlocks


class Transformer(OfBlocks):
    """Blocks of attention and a feed-forward net over a text's tokens or a series' steps."""

    kind: Literal["transformer"] = "transformer"
    pool: Literal["mean", "max", "last"] = Field("mean", description="which steps the answer is made of")

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from one sequence, int64[batch, steps] or float32[batch, channels, steps], to named outputs."""
        from torch import Tensor, nn

        from components.models.blocks import Keyed, Single
        from components.models.sequences import Steps, pooled, single_sequence

        spec, config = single_sequence(inputs, self.kind), self

        class Trunk(nn.Module):
            """Steps, encoded and pooled."""

            def __init__(self) -> None:
                super().__init__()
                self.steps = Steps(spec, config.width, config.dropout)
                same = self.steps.width == config.width
                self.into = nn.Identity() if same else nn.Linear(self.steps.width, config.width)
                self.encoder = config.blocks(spec)

            def forward(self, values: Tensor) -> Tensor:
                steps, lengths = self.steps(values)
                return pooled(self.encoder(self.into(steps), lengths), lengths, config.pool)

        return Keyed(Single(spec.name, Trunk()), self.width, outputs)

"""Recurrent networks over one sequence: Elman's RNN, LSTM (Hochreiter, Schmidhuber 1997), GRU (Cho et al. 2014)."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import TensorSpec


class Recurrent(StepConfig):
    """Layers of recurrent cells over a text's tokens or a series' steps; what is behind a row's end is not read."""

    kind: Literal["recurrent"] = "recurrent"
    cell: Literal["rnn", "lstm", "gru"] = Field("lstm", description="what a layer is made of")
    hidden: int = Field(64, ge=1, description="width of the state, in each direction")
    layers: int = Field(1, ge=1, le=16, description="one above the other")
    bidirectional: bool = Field(False, description="also read from the end")
    embedding: int = Field(64, ge=1, description="width of a token's vector")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of activations zeroed in training, between layers too")
    pool: Literal["last", "mean", "max"] = Field("last", description="which states the answer is made of")

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from one sequence, int64[batch, steps] or float32[batch, channels, steps], to named outputs."""
        import torch
        from torch import nn

        from components.models.blocks import Keyed, Single
        from components.models.sequences import Cells, Steps, pooled, single_sequence

        spec, config = single_sequence(inputs, self.kind), self

        class Trunk(nn.Module):
            """The last state of both directions, or all states pooled."""

            def __init__(self) -> None:
                super().__init__()
                self.steps = Steps(spec, config.embedding, config.dropout)
                self.cells = Cells(
                    config.cell,
                    self.steps.width,
                    config.hidden,
                    layers=config.layers,
                    both_ways=config.bidirectional,
                    dropout=config.dropout,
                )
                self.dropout = nn.Dropout(config.dropout)

            def forward(self, values: torch.Tensor) -> torch.Tensor:
                steps, lengths = self.steps(values)
                states = self.cells(steps, lengths)
                if config.pool == "last":
                    # Who reads from the end is done at the first step.
                    found = pooled(states[..., : config.hidden], lengths, "last")
                    found = torch.cat([found, states[:, 0, config.hidden :]], 1)
                else:
                    found = pooled(states, lengths, config.pool)
                kept: torch.Tensor = self.dropout(found)
                return kept

        return Keyed(Single(spec.name, Trunk()), self.hidden * (1 + self.bidirectional), outputs)

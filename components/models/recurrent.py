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
        from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

        from components.models.blocks import Keyed, Single
        from components.models.sequences import Steps, pooled, single_sequence

        spec, config = single_sequence(inputs, self.kind), self

        class Trunk(nn.Module):
            """The last state of both directions, or all states pooled."""

            def __init__(self) -> None:
                super().__init__()
                self.steps = Steps(spec, config.embedding, config.dropout)
                kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[config.cell]
                self.cells = kind(
                    self.steps.width,
                    config.hidden,
                    config.layers,
                    batch_first=True,
                    bidirectional=config.bidirectional,
                    dropout=config.dropout if config.layers > 1 else 0.0,
                )
                self.dropout = nn.Dropout(config.dropout)

            def forward(self, values: torch.Tensor) -> torch.Tensor:
                steps, lengths = self.steps(values)
                packed = pack_padded_sequence(steps, lengths.cpu(), batch_first=True, enforce_sorted=False)
                states, last = self.cells(packed)
                if config.pool == "last":
                    top = (last[0] if config.cell == "lstm" else last)[-1 - config.bidirectional :]
                    found = top.transpose(0, 1).flatten(1)
                else:
                    found = pooled(pad_packed_sequence(states, batch_first=True)[0], lengths, config.pool)
                kept: torch.Tensor = self.dropout(found)
                return kept

        return Keyed(Single(spec.name, Trunk()), self.hidden * (1 + self.bidirectional), outputs)

"""Pieces that models of sequences share: one input as vectors per step, and many steps as one vector.

Imports torch; imported by a model's `build` only.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec

Pool = Literal["mean", "max", "last"]
Cell = Literal["rnn", "lstm", "gru"]
PADDING = 0
"""The token that fills up a text (features/pieces.py)."""


class Steps(nn.Module):
    """One input as float32[batch, steps, width], and how many steps of each row count, int64[batch].

    Tokens go through an embedding, in which padding is zero. Numbers, float32[batch, channels, steps], are turned
    round, and all of their steps count.
    """

    def __init__(self, spec: TensorSpec, embedding: int, dropout: float) -> None:
        super().__init__()
        self.tokens = bool(spec.classes)
        self.table = nn.Embedding(spec.classes[0], embedding, padding_idx=PADDING) if spec.classes else None
        self.dropout = nn.Dropout(dropout)
        self.width = embedding if spec.classes else spec.shape[0]

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors and the lengths; a row without a token has one step of padding."""
        if self.table is None:
            steps = values.transpose(1, 2)
            return self.dropout(steps), torch.full(values.shape[:1], steps.shape[1], device=values.device)
        lengths = (values != PADDING).sum(1).clamp(min=1)
        return self.dropout(self.table(values[:, : longest(lengths, values)])), lengths


def longest(lengths: Tensor, tokens: Tensor) -> int:
    """The most steps of a row: nobody reads behind them. In a graph, whose shapes hang on no values, all there are."""
    if torch.compiler.is_exporting():
        return tokens.shape[1]
    return int(lengths.max()) if len(lengths) else 1


class Cells(nn.Module):
    """Layers of recurrent cells, in one direction or both.

    Rows are computed at their batch's greatest length: what lies behind a row's end is never read by its own states,
    and torch's fast kernels are not for packed rows (an LSTM on a CPU takes five times as long with them).
    """

    def __init__(self, cell: Cell, width: int, hidden: int, *, layers: int, both_ways: bool, dropout: float) -> None:
        super().__init__()
        kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell]
        ways = 1 + both_ways
        widths = [width, *[hidden * ways] * (layers - 1)]
        self.forwards = nn.ModuleList(kind(one, hidden, batch_first=True) for one in widths)
        self.backwards = nn.ModuleList(kind(one, hidden, batch_first=True) for one in widths if both_ways)
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """float32[batch, longest, hidden or twice that]: the states, of the way back behind those of the way there."""
        place = torch.arange(steps.shape[1], device=steps.device)
        turned = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
        for at, cells in enumerate(self.forwards):
            steps = self.dropout(steps) if at else steps
            states = [cells(steps)[0]]
            if self.backwards:
                states.append(_in_order(self.backwards[at](_in_order(steps, turned))[0], turned))
            steps = torch.cat(states, -1)
        return steps


def _in_order(steps: Tensor, order: Tensor) -> Tensor:
    """Each row's steps in another order, int64[batch, steps]."""
    return steps.gather(1, order[..., None].expand(-1, -1, steps.shape[-1]))


def pooled(steps: Tensor, lengths: Tensor, how: Pool) -> Tensor:
    """float32[batch, steps, width] as float32[batch, width]; what lies behind a row's length does not count."""
    if how == "last":
        return steps[torch.arange(steps.shape[0], device=steps.device), lengths - 1]
    inside = (torch.arange(steps.shape[1], device=steps.device) < lengths[:, None])[..., None]
    if how == "max":
        return steps.masked_fill(~inside, float("-inf")).amax(1)
    return (steps * inside).sum(1) / lengths[:, None]


def single_sequence(inputs: Sequence[TensorSpec], model: str) -> TensorSpec:
    """The one input, if it is a sequence of tokens or of numbers.

    Raises:
        ConfigError: E_CONFIG.
    """
    return _single(inputs, model, "one sequence", "text or series", numbers=True)


def single_text(inputs: Sequence[TensorSpec], model: str) -> TensorSpec:
    """The one input, if it is a text.

    Raises:
        ConfigError: E_CONFIG.
    """
    return _single(inputs, model, "one text", "text", numbers=False)


def _single(inputs: Sequence[TensorSpec], model: str, what: str, kinds: str, *, numbers: bool) -> TensorSpec:
    if len(inputs) == 1:
        (one,) = inputs
        text = one.sequence and len(one.classes) == 1
        if text or (numbers and not one.classes and len(one.shape) == 2):
            return one
    raise ConfigError(
        "E_CONFIG",
        f"{model} reads {what} and nothing else",
        place="model.kind",
        value=[one.name for one in inputs],
        allowed=f"one feature of kind {kinds}",
        action="change the features or the model",
    )

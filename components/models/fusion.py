"""How codes of several inputs become one. Imports torch; imported by a model's `build` only."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

HEADS = 4


class Fused(nn.Module):
    """Encoders, their codes fused, and dense layers; `behind` is the width of what comes out."""

    def __init__(
        self,
        encoders: Sequence[tuple[Sequence[str], nn.Module]],
        code: str,
        *,
        width: int,
        how: Literal["concatenate", "product", "gated", "attention"],
        hidden: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.code, self.how = code, how
        self.inputs = [tuple(names) for names, _ in encoders]
        self.encoders = nn.ModuleList(encoder for _, encoder in encoders)
        whole = width * len(encoders)
        self.gates = nn.Linear(whole, whole) if how == "gated" else None
        self.attention = (
            nn.TransformerEncoderLayer(width, HEADS, 2 * width, dropout, batch_first=True, norm_first=True)
            if how == "attention"
            else None
        )
        widths = [whole if how == "concatenate" else width, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.dense = nn.Sequential(*layers)
        self.behind = widths[-1]

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """float32[batch, behind]."""
        codes = torch.stack(
            [
                self._part(encoder({name: inputs[name] for name in names})[self.code])
                for names, encoder in zip(self.inputs, self.encoders, strict=True)
            ],
            1,
        )
        if self.gates is not None:
            fused = (self.gates(codes.flatten(1)).sigmoid().view_as(codes) * codes).sum(1)
        elif self.attention is not None:
            fused = self.attention(codes).mean(1)
        elif self.how == "product":
            fused = codes.prod(1)
        else:
            fused = codes.flatten(1)
        found: Tensor = self.dense(fused)
        return found

    def _part(self, code: Tensor) -> Tensor:
        """A code as it is fused; factors keep their sign."""
        return code if self.how == "product" else code.relu()

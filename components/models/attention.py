"""Attention and what is built of it. Imports torch; imported by a model's `build` only."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from components.contracts.errors import ConfigError

WAVES = 10_000.0
"""The longest wave of positions, over 2 pi (Vaswani et al. 2017)."""


def angles(steps: int, width: int, like: Tensor) -> Tensor:
    """float32[steps, width / 2]: place times frequency, which falls from 1 to 1 / WAVES."""
    places = torch.arange(steps, device=like.device, dtype=torch.float32)
    falling = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(WAVES) / width))
    return places[:, None] * falling


def waves(steps: int, width: int, like: Tensor) -> Tensor:
    """float32[steps, width]: sines in the even places, cosines in the odd ones."""
    found = torch.zeros(steps, width, device=like.device)
    turned = angles(steps, width, like)
    found[:, 0::2], found[:, 1::2] = turned.sin(), turned.cos()[:, : width // 2]
    return found


def turned(values: Tensor) -> Tensor:
    """float32[batch, heads, steps, width] with each pair of numbers turned by its place's angle."""
    steps, width = values.shape[-2:]
    by = angles(steps, width, values)
    even, odd = values[..., 0::2], values[..., 1::2]
    return torch.stack([even * by.cos() - odd * by.sin(), even * by.sin() + odd * by.cos()], -1).flatten(-2)


def within(steps: int, lengths: Tensor) -> Tensor:
    """bool[batch, 1, 1, steps]: which steps count, of rows that have so many."""
    return (torch.arange(steps, device=lengths.device) < lengths[:, None])[:, None, None]


class Attention(nn.Module):
    """Several heads over one sequence; steps behind a row's length are not looked at.

    Its weights are never zeroed: torch's fast kernel does not do that on a CPU, and a step takes five times as long.
    """

    def __init__(self, width: int, heads: int, *, rotary: bool) -> None:
        super().__init__()
        self.heads, self.rotary = heads, rotary
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, steps: Tensor, inside: Tensor) -> Tensor:
        """float32[batch, steps, width]; `inside` is bool[batch, 1, 1 or steps, steps]."""
        batch, length, width = steps.shape
        parts = self.into(steps).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if self.rotary:
            query, key = turned(query), turned(key)
        found = scaled_dot_product_attention(query, key, value, attn_mask=inside)
        mixed: Tensor = self.out(found.transpose(1, 2).reshape(batch, length, width))
        return mixed


class Across(nn.Module):
    """Several heads that look from one sequence at another."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.asks, self.into, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, steps: Tensor, read: Tensor, inside: Tensor) -> Tensor:
        """float32[batch, steps, width]; `inside` is bool[batch, 1, 1, steps of the one that is read]."""
        batch, length, width = steps.shape
        query = self.asks(steps).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
        parts = self.into(read).view(batch, read.shape[1], 2, self.heads, width // self.heads)
        key, value = parts.permute(2, 0, 3, 1, 4)
        found = scaled_dot_product_attention(query, key, value, attn_mask=inside)
        mixed: Tensor = self.out(found.transpose(1, 2).reshape(batch, length, width))
        return mixed


class Block(nn.Module):
    """Attention, with `across` also to what was read, then a net for each step; each adds to what came in."""

    def __init__(
        self, width: int, heads: int, inner: int, dropout: float, *, rotary: bool, across: bool = False
    ) -> None:
        super().__init__()
        self.between = nn.LayerNorm(width) if across else None
        self.across = Across(width, heads) if across else None
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, rotary=rotary)
        self.net = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Dropout(dropout), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, inside: Tensor, read: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """float32[batch, steps, width]; `read` are the steps that were read, and which of them count."""
        steps = steps + self.dropout(self.attention(self.first(steps), inside))
        if self.across is not None and self.between is not None and read is not None:
            steps = steps + self.dropout(self.across(self.between(steps), *read))
        found: Tensor = steps + self.dropout(self.net(self.second(steps)))
        return found


class Encoder(nn.Module):
    """Positions, blocks, and a last norm; with `back_only` no step looks at those behind it."""

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        layers: int,
        inner: int,
        dropout: float,
        positions: str,
        longest: int,
        back_only: bool = False,
        across: bool = False,
    ) -> None:
        super().__init__()
        self.positions, self.longest, self.back_only = positions, longest, back_only
        self.table = nn.Embedding(longest, width) if positions == "learned" else None
        self.blocks = nn.ModuleList(
            Block(width, heads, inner, dropout, rotary=positions == "rotary", across=across) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, steps: Tensor, lengths: Tensor, read: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """float32[batch, steps, width]; of each row, `lengths` steps count. `read` is as in Block.

        Raises:
            ConfigError: E_CONFIG, a row is longer than the learnt table.
        """
        length, width = steps.shape[1:]
        if self.table is not None:
            if length > self.longest:
                raise ConfigError(
                    "E_CONFIG",
                    "a sequence is longer than the table of positions",
                    place="model.longest",
                    value=length,
                    allowed=f"up to {self.longest}",
                    action="raise model.longest, or set the length of the feature",
                )
            steps = steps + self.table.weight[:length]
        elif self.positions == "sinusoidal":
            steps = steps + waves(length, width, steps)
        inside = within(length, lengths)
        if self.back_only:
            inside = inside & torch.ones(length, length, dtype=torch.bool, device=steps.device).tril()
        for block in self.blocks:
            steps = block(steps, inside, read)
        found: Tensor = self.norm(steps)
        return found

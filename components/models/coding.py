"""The network of an autoencoder. Imports torch; imported by a model's `build` only."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from components.contracts.spec import CODE_LOG_VARIANCE, CODE_MEAN, TensorSpec


class Coder(nn.Module):
    """The input `given` through convolutions (`channels`), dense layers (`hidden`) and a code, and back.

    `maps` are the maps, height and width behind the convolutions, where there are any.
    """

    def __init__(
        self, given: TensorSpec, *, code: int, hidden: Sequence[int], channels: Sequence[int], maps: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.name, self.code = given.name, code
        down, up = _convolutions((given.shape[0], *channels)) if maps else ([], [])
        widths = [torch.Size(maps).numel() if maps else given.size, *hidden]
        self.encoder = nn.Sequential(*down, nn.Flatten(), *_dense(widths))
        self.mean = nn.Linear(widths[-1], code)
        back = _dense([code, *reversed(widths)])
        # Numbers of any sign come back; before convolutions they are maps.
        layers = [*back, nn.Unflatten(1, maps), *up] if maps else [*back[:-1], nn.Unflatten(1, given.shape)]
        self.decoder = nn.Sequential(*layers)

    def encode(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The code, float32[batch, code]; of a distribution, its mean."""
        found: Tensor = self.mean(self.encoder(inputs[self.name]))
        return found

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The input as it comes back."""
        return {self.name: self.decoder(self.encode(inputs))}


class VariationalCoder(Coder):
    """The code is drawn, in training, from a normal distribution of each row's own."""

    def __init__(
        self, given: TensorSpec, *, code: int, hidden: Sequence[int], channels: Sequence[int], maps: tuple[int, ...]
    ) -> None:
        super().__init__(given, code=code, hidden=hidden, channels=channels, maps=maps)
        self.log_variance = nn.Linear(self.mean.in_features, code)

    def sample(self, rows: int, draw: torch.Generator) -> Tensor:
        """So many rows, from codes of the standard normal distribution."""
        found: Tensor = self.decoder(torch.randn(rows, self.code, generator=draw))
        return found

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The input as it comes back, and the distribution of its code."""
        hidden = self.encoder(inputs[self.name])
        mean, log = self.mean(hidden), self.log_variance(hidden)
        code = mean + (log / 2).exp() * torch.randn_like(mean) if self.training else mean
        return {self.name: self.decoder(code), CODE_MEAN: mean, CODE_LOG_VARIANCE: log}


def _dense(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers


def _convolutions(channels: Sequence[int]) -> tuple[list[nn.Module], list[nn.Module]]:
    """What halves height and width, and what doubles them again."""
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    for before, after in pairwise(channels):
        down += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        up = [nn.ConvTranspose2d(after, before, 4, stride=2, padding=1), nn.ReLU(), *up]
    return down, up[:-1]

"""The networks of a GAN. Imports torch; imported by a model's `build` only."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from components.contracts.spec import REALNESS, TensorSpec

SLOPE = 0.2
"""Of the critic's leaky ReLU (Radford et al. 2015)."""


class Generator(nn.Module):
    """Noise and what is told, float32[batch, numbers], as a row."""

    def __init__(self, shape: Sequence[int], width: int, widths: Sequence[int], *, bounded: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if len(shape) == 3:
            times = 2 ** len(widths)
            small = (widths[0], shape[1] // times, shape[2] // times)
            layers += [nn.Linear(width, prod(small)), nn.Unflatten(1, small)]
            for before, after in pairwise([*widths, shape[0]]):
                layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
        else:
            for before, after in pairwise([width, *widths]):
                layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
            layers += [nn.Linear(widths[-1], prod(shape)), nn.Unflatten(1, tuple(shape))]
        self.layers = nn.Sequential(*layers, *([nn.Sigmoid()] if bounded else []))

    def forward(self, values: Tensor) -> Tensor:
        """float32[batch, *shape]."""
        found: Tensor = self.layers(values)
        return found


class Critic(nn.Module):
    """A row, with what is told, as how real it looks."""

    def __init__(self, shape: Sequence[int], told: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if len(shape) == 3:
            maps = [shape[0], *reversed(widths)]
            for before, after in pairwise(maps):
                layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE), nn.Dropout(dropout)]
            times = 2 ** len(widths)
            width = maps[-1] * (shape[1] // times) * (shape[2] // times)
            layers.append(nn.Flatten())
        else:
            layers.append(nn.Flatten())
            for before, after in pairwise([prod(shape), *widths]):
                layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE), nn.Dropout(dropout)]
            width = widths[-1]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(width, 1)
        # What is told counts by how it fits what was seen (Miyato and Koyama 2018).
        self.fits = nn.Linear(told, width) if told else None

    def forward(self, rows: Tensor, told: Tensor) -> Tensor:
        """float32[batch]: above 0 for what looks real."""
        seen = self.layers(rows)
        found: Tensor = self.head(seen)[:, 0]
        return found if self.fits is None else found + (self.fits(told) * seen).sum(1)


class Players(nn.Module):
    """Both, and the vectors of the classes that they are told."""

    def __init__(
        self,
        given: TensorSpec,
        told: Sequence[TensorSpec],
        *,
        noise: int,
        widths: Sequence[int],
        embedding: int,
        dropout: float,
        bounded: bool,
    ) -> None:
        super().__init__()
        self.name, self.shape, self.noise = given.name, given.shape, noise
        self.told = [(one.name, len(one.classes)) for one in told]
        sizes = [size for one in told for size in one.classes]
        self.sizes = sizes
        more = embedding * len(sizes)
        self.critic = nn.ModuleDict({
            "net": Critic(given.shape, more, widths, dropout),
            "classes": nn.ModuleList(nn.Embedding(size, embedding) for size in sizes),
        })
        self.generator = nn.ModuleDict({
            "net": Generator(given.shape, noise + more, widths, bounded=bounded),
            "classes": nn.ModuleList(nn.Embedding(size, embedding) for size in sizes),
        })

    def drawn(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """A row for each row, of the classes that it has."""
        like = inputs[self.name]
        noise = torch.randn(len(like), self.noise, device=like.device)
        return self._made(noise, self._classes(inputs))

    def sample(self, rows: int, draw: torch.Generator, classes: Tensor | None = None) -> Tensor:
        """So many rows; of the `classes`, int64[rows, columns], or of any, drawn alike."""
        noise = torch.randn(rows, self.noise, generator=draw)
        if classes is None:
            columns = [torch.randint(0, size, (rows,), generator=draw) for size in self.sizes]
            classes = torch.stack(columns, 1) if columns else torch.zeros(rows, 0, dtype=torch.int64)
        return self._made(noise, classes)

    def judged(self, rows: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """float32[batch]: how real rows look, as rows of the classes of `inputs`."""
        found: Tensor = self.critic["net"](rows, _vectors(self.critic["classes"], self._classes(inputs)))
        return found

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A drawn row for each row (always the same outside of training), and how real the row itself looks."""
        rows = inputs[self.name]
        drawn = self.drawn(inputs) if self.training else self._made(self._of_rows(rows), self._classes(inputs))
        return {self.name: drawn, REALNESS: self.judged(rows, inputs)}

    def _of_rows(self, rows: Tensor) -> Tensor:
        """Noise that hangs on each row alone, so that it is the same in any batch: float32[batch, noise]."""
        flat = rows.detach().flatten(1).double().cpu()
        told = (flat * torch.linspace(1, 2, flat.shape[1], dtype=torch.float64)).sum(1).view(torch.int64)
        seeds = (told & (2**62 - 1)).tolist()
        drawn = [torch.randn(self.noise, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(drawn).to(rows.device) if drawn else torch.zeros(0, self.noise, device=rows.device)

    def _made(self, noise: Tensor, classes: Tensor) -> Tensor:
        told = _vectors(self.generator["classes"], classes)
        found: Tensor = self.generator["net"](torch.cat([noise, told], 1))
        return found

    def _classes(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """int64[batch, columns]."""
        like = inputs[self.name]
        columns = [inputs[name].reshape(len(like), count) for name, count in self.told]
        return torch.cat(columns, 1) if columns else torch.zeros(len(like), 0, dtype=torch.int64, device=like.device)


def _vectors(tables: nn.Module, classes: Tensor) -> Tensor:
    """The classes' vectors side by side, float32[batch, numbers]."""
    assert isinstance(tables, nn.ModuleList)
    found = [table(classes[:, column]) for column, table in enumerate(tables)]
    return torch.cat(found, 1) if found else torch.zeros(len(classes), 0, device=classes.device)

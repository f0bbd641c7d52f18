"""Pieces that architectures share. Imports torch; imported by a model's `build` only."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec

Tensors = Mapping[str, Tensor]


class Keyed(nn.Module):
    """Maps named inputs to named outputs: `encoder(inputs)` gives float32[batch, width], one linear head per output."""

    def __init__(self, encoder: nn.Module, width: int, outputs: Sequence[TensorSpec]) -> None:
        super().__init__()
        self.encoder = encoder
        self.shapes = {spec.name: spec.shape for spec in outputs}
        self.heads = nn.ModuleDict({spec.name: nn.Linear(width, spec.size) for spec in outputs})

    def forward(self, inputs: Tensors) -> dict[str, Tensor]:
        """Every output by name, of shape [batch, *spec.shape]."""
        hidden = self.encoder(inputs)
        return {name: head(hidden).reshape(-1, *self.shapes[name]) for name, head in self.heads.items()}


class Single(nn.Module):
    """A trunk over one named input."""

    def __init__(self, name: str, trunk: nn.Module) -> None:
        super().__init__()
        self.name, self.trunk = name, trunk

    def forward(self, inputs: Tensors) -> Tensor:
        """float32[batch, width]."""
        hidden: Tensor = self.trunk(inputs[self.name])
        return hidden


class Joined(nn.Module):
    """All inputs side by side: real numbers flattened, index columns through an embedding each, then a trunk."""

    def __init__(self, inputs: Sequence[TensorSpec], embedding: int, trunk: nn.Module) -> None:
        super().__init__()
        self.reals = [spec.name for spec in inputs if not spec.classes]
        self.embeddings = nn.ModuleDict({
            spec.name: nn.ModuleList(nn.Embedding(size, embedding_width(size, embedding)) for size in spec.classes)
            for spec in inputs
            if spec.classes
        })
        self.trunk = trunk

    def forward(self, inputs: Tensors) -> Tensor:
        """float32[batch, width]."""
        pieces = [inputs[name].flatten(1) for name in self.reals]
        for name, tables in self.embeddings.items():
            assert isinstance(tables, nn.ModuleList)
            pieces += [table(inputs[name][:, column]) for column, table in enumerate(tables)]
        hidden: Tensor = self.trunk(torch.cat(pieces, 1))
        return hidden


class ResidualBlock(nn.Module):
    """Two convolutions with batch normalisation, added to their input; `stride` divides height and width."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        same = before == after and stride == 1
        self.past: nn.Module = nn.Identity() if same else nn.Conv2d(before, after, 1, stride=stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """float32[batch, after, height / stride, width / stride]."""
        return nn.functional.relu(self.way(maps) + self.past(maps))


def check_no_sequence(inputs: Sequence[TensorSpec], model: str) -> None:
    """Raise E_CONFIG where an input is a sequence."""
    steps = next((spec.name for spec in inputs if spec.sequence), None)
    if steps is not None:
        raise ConfigError(
            "E_CONFIG",
            f"{model} reads no sequences",
            place="model.kind",
            value=steps,
            allowed="features with a fixed number of numbers, as of kind bag",
            action="change the feature or the model",
        )


def embedding_width(size: int, most: int) -> int:
    """Half the vocabulary, rounded up, at most `most`."""
    return min(most, (size + 1) // 2)


def joined_width(inputs: Sequence[TensorSpec], embedding: int) -> int:
    """The width of what `Joined` puts side by side."""
    reals = sum(spec.size for spec in inputs if not spec.classes)
    return reals + sum(embedding_width(size, embedding) for spec in inputs for size in spec.classes)

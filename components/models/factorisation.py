"""The factorisation machine (Rendle 2010): who meets what, by the products of learnt vectors."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec


class Factorisation(StepConfig):
    """Every index column has a number and a vector for each value; the products of all pairs of vectors are added.

    Of a user and an item that is matrix factorisation with biases (Koren et al. 2009). Numbers tell by a linear map.
    """

    kind: Literal["factorisation"] = "factorisation"
    width: int = Field(32, ge=1, description="numbers of a vector")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the vectors' numbers that are zeroed in training")

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from named inputs, index columns among them, to named outputs.

        Raises:
            ConfigError: E_CONFIG, fewer than two index columns.
        """
        import torch
        from torch import Tensor, nn

        from components.models.blocks import check_no_sequence

        check_no_sequence(inputs, self.kind)
        coded = [one for one in inputs if one.classes]
        sizes = [size for one in coded for size in one.classes]
        if len(sizes) < 2:
            raise ConfigError(
                "E_CONFIG",
                "a factorisation needs two columns of indices",
                place="model.kind",
                value=", ".join(one.name for one in inputs),
                allowed="features of kind category with encoding: index",
                action="change the features or the model",
            )
        reals = [one for one in inputs if not one.classes]
        numbers, config = sum(one.size for one in outputs), self

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.numbers = nn.ModuleList(nn.Embedding(size, numbers) for size in sizes)
                self.vectors = nn.ModuleList(nn.Embedding(size, numbers * config.width) for size in sizes)
                for table in (*self.numbers, *self.vectors):
                    assert isinstance(table, nn.Embedding)
                    nn.init.normal_(table.weight, std=0.1 / config.width**0.5)
                width = sum(one.size for one in reals)
                self.plain = nn.Linear(width, numbers) if width else None
                self.constant = nn.Parameter(torch.zeros(numbers))
                self.dropout = nn.Dropout(config.dropout)

            def forward(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
                codes = torch.cat([values[one.name].flatten(1) for one in coded], 1)
                alone = sum(table(codes[:, at]) for at, table in enumerate(self.numbers))
                vectors = torch.stack([table(codes[:, at]) for at, table in enumerate(self.vectors)], 1)
                vectors = self.dropout(vectors).unflatten(2, (numbers, config.width))
                # The products of all pairs are half of what the square of the sum has beside the squares.
                pairs = (vectors.sum(1) ** 2 - (vectors**2).sum(1)).sum(-1) / 2
                found = self.constant + alone + pairs
                if self.plain is not None:
                    found = found + self.plain(torch.cat([values[one.name].flatten(1) for one in reals], 1))
                pieces = found.split([one.size for one in outputs], 1)
                return {one.name: piece.reshape(-1, *one.shape) for one, piece in zip(outputs, pieces, strict=True)}

        return Network()

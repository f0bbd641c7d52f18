"""The multilayer perceptron: dense layers over all inputs, index columns through embeddings."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import TensorSpec


class Mlp(StepConfig):
    """Dense layers; none makes it a linear model."""

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = Field((128, 64), description="width of each hidden layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of activations that are zeroed in training")
    norm: bool = Field(False, description="batch normalisation after each hidden layer")
    embedding: int = Field(16, ge=1, description="largest width of an index column's embedding")

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from named inputs to named outputs."""
        from torch import nn

        from components.models.blocks import Joined, Keyed, check_no_sequence, joined_width

        check_no_sequence(inputs, self.kind)
        width = joined_width(inputs, self.embedding)
        layers: list[nn.Module] = []
        for units in self.hidden:
            layers.append(nn.Linear(width, units))
            if self.norm:
                layers.append(nn.BatchNorm1d(units))
            layers.append(nn.ReLU())
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            width = units
        return Keyed(Joined(inputs, self.embedding, nn.Sequential(*layers)), width, outputs)

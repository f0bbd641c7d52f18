"""One linear layer over all inputs: linear regression, or with class outputs logistic regression."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import TensorSpec


class Linear(StepConfig):
    """No hidden layer; every index column becomes a learnt vector."""

    kind: Literal["linear"] = "linear"
    embedding: int = Field(16, ge=1, description="largest width of an index column's embedding")

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from named inputs to named outputs."""
        from torch import nn

        from components.models.blocks import Joined, Keyed, check_no_sequence, joined_width

        check_no_sequence(inputs, self.kind)
        return Keyed(Joined(inputs, self.embedding, nn.Identity()), joined_width(inputs, self.embedding), outputs)

"""Sequences of tokens."""

from typing import Any, Literal

from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import TensorSpec

FIRST_PLAIN, UNKNOWN = 3, 1
"""Tokens below the first have meanings of their own (features/pieces.py)."""


class TokenDropout(StepConfig):
    """Replaces tokens by the one for what is unknown; those that fill up or separate stay."""

    kind: Literal["token-dropout"] = "token-dropout"
    feature: str = Field("text", description="a text feature")
    share: float = Field(0.1, gt=0, lt=1, description="of the tokens")

    def wrong(self, spec: TensorSpec) -> str:
        """Why it is not for such a tensor."""
        return "" if spec.sequence and len(spec.shape) == 1 else "it needs a sequence of tokens"

    def apply(self, values: Any, draw: Any) -> Any:
        """The same shape."""
        import torch

        chosen = torch.rand(values.shape, generator=draw, device=values.device) < self.share
        return values.masked_fill(chosen & (values >= FIRST_PLAIN), UNKNOWN)

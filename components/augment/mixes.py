"""Rows mixed with others of their batch, and their losses with them."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from components.augment.images import OfImages, boxes
from components.contracts.config import StepConfig
from components.contracts.spec import TensorSpec


class Mixup(StepConfig):
    """Every feature of real numbers becomes a weighted mean of two rows (Zhang et al. 2018)."""

    moves: ClassVar[bool] = True
    kind: Literal["mixup"] = "mixup"
    alpha: float = Field(0.2, gt=0, description="of the beta distribution that a batch's weight is drawn from")

    def wrong(self, spec: TensorSpec) -> str:
        """Why it is not for such a tensor; one that it is for is enough."""
        return "" if spec.dtype == "float32" and not spec.sequence else "there is nothing to take a mean of"

    def mixed(self, inputs: dict[str, Any], draw: Any) -> tuple[dict[str, Any], Any, Any]:
        """The inputs, which row each is mixed with, and the weight of the row itself in the loss.

        What has no mean (indices, sequences of tokens) is left as it is.
        """
        other, weight = _pairing(inputs, self.alpha, draw)
        found = {
            name: weight * value + (1 - weight) * value[other] if value.is_floating_point() else value
            for name, value in inputs.items()
        }
        return found, other, weight


class Cutmix(OfImages, StepConfig):
    """A box of each image is replaced by that of another row (Yun et al. 2019)."""

    moves: ClassVar[bool] = True
    kind: Literal["cutmix"] = "cutmix"
    feature: str = Field("image", description="the image feature")
    alpha: float = Field(1.0, gt=0, description="of the beta distribution that the box's share is drawn from")

    def mixed(self, inputs: dict[str, Any], draw: Any) -> tuple[dict[str, Any], Any, Any]:
        """The inputs, which row each is mixed with, and per row the share of its own pixels, its weight in the loss."""
        other, weight = _pairing(inputs, self.alpha, draw)
        values = inputs[self.feature]
        height, width = values.shape[2:]
        share = float((1 - weight) ** 0.5)
        sides = (round(height * share), round(width * share))
        inside = boxes(len(values), (height, width), sides, draw)
        found = values.where(~inside[:, None], values[other])
        return {**inputs, self.feature: found}, other, 1 - inside.float().mean((1, 2))


def _pairing(inputs: dict[str, Any], alpha: float, draw: Any) -> tuple[Any, Any]:
    """Another row for each, and a weight from the symmetric beta distribution with `alpha`."""
    import torch

    rows = len(next(iter(inputs.values())))
    # torch draws no beta from a generator; NumPy does, from a seed that ours draws.
    import numpy as np

    seed = int(torch.randint(0, 2**62, (1,), generator=draw, device=draw.device))
    weight = np.random.default_rng(seed).beta(alpha, alpha)
    other = torch.randperm(rows, generator=draw, device=draw.device)
    return other, torch.tensor(weight, dtype=torch.float32, device=draw.device)

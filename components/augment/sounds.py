"""Waves and spectra as models get them: the last axis is time."""

from typing import Any, Literal

from pydantic import Field

from components.augment.images import OfImages
from components.contracts.config import StepConfig
from components.contracts.spec import TensorSpec


class Noise(StepConfig):
    """Adds normal noise; to any feature of real numbers."""

    kind: Literal["noise"] = "noise"
    feature: str = Field("audio", description="the feature whose tensor is changed")
    deviation: float = Field(0.1, gt=0, description="of the noise, in the units of the tensor")

    def wrong(self, spec: TensorSpec) -> str:
        """Why it is not for such a tensor."""
        return "" if spec.dtype == "float32" and not spec.sequence else "it needs real numbers"

    def apply(self, values: Any, draw: Any) -> Any:
        """The same shape."""
        import torch

        return values + self.deviation * torch.randn(values.shape, generator=draw, device=values.device)


class Mask(OfImages, StepConfig):
    """Sets a run of frames and one of bands of each spectrum to zero, the mean of training rows (Park et al. 2019)."""

    kind: Literal["mask"] = "mask"
    feature: str = Field("audio", description="a spectrum, float32[rows, 1, bands, frames]")
    frames: float = Field(0.2, ge=0, le=1, description="share of the frames at most")
    bands: float = Field(0.2, ge=0, le=1, description="share of the bands at most")

    def apply(self, values: Any, draw: Any) -> Any:
        """The same shape."""
        import torch

        for axis, share in ((3, self.frames), (2, self.bands)):
            length = values.shape[axis]
            drawn = torch.rand(2, len(values), 1, generator=draw, device=values.device)
            run = (drawn[0] * (int(share * length) + 1)).floor()
            start = (drawn[1] * (length - run + 1)).floor()
            place = torch.arange(length, device=values.device)
            hidden = (place >= start) & (place < start + run)
            values = values.masked_fill(hidden[:, None, None] if axis == 3 else hidden[:, None, :, None], 0.0)
        return values

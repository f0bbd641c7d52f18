"""Images as models get them, float32[rows, channels, height, width], each row changed by draws of its own."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import TensorSpec


class OfImages:
    """An augmentation of images."""

    def wrong(self, spec: TensorSpec) -> str:
        """Why it is not for such a tensor."""
        return "" if len(spec.shape) == 3 and spec.dtype == "float32" else "it needs an image or a spectrum"


FEATURE = Field("image", description="the feature whose tensor is changed")


class Flip(OfImages, StepConfig):
    """Mirrors half of the rows."""

    moves: ClassVar[bool] = True
    kind: Literal["flip"] = "flip"
    feature: str = FEATURE
    direction: Literal["horizontal", "vertical"] = Field("horizontal", description="left becomes right, or top bottom")

    def apply(self, values: Any, draw: Any) -> Any:
        """The same shape."""
        import torch

        chosen = torch.rand(len(values), generator=draw, device=values.device) < 0.5
        axis = 3 if self.direction == "horizontal" else 2
        return torch.where(chosen[:, None, None, None], values.flip(axis), values)


class Crop(OfImages, StepConfig):
    """Moves the image by up to so many pixels; what comes in at the margin is the mirror of what is there."""

    moves: ClassVar[bool] = True
    kind: Literal["crop"] = "crop"
    feature: str = FEATURE
    pixels: int = Field(4, ge=1, description="at most, in each direction; less than the image's side")

    def wrong(self, spec: TensorSpec) -> str:
        """Why it is not for such a tensor."""
        small = len(spec.shape) == 3 and min(spec.shape[1:]) <= self.pixels
        return f"its sides have to be longer than {self.pixels} pixels" if small else super().wrong(spec)

    def apply(self, values: Any, draw: Any) -> Any:
        """The same shape."""
        import torch

        rows, _, height, width = values.shape
        moves = torch.randint(0, 2 * self.pixels + 1, (2, rows), generator=draw, device=values.device)
        padded = torch.nn.functional.pad(values, [self.pixels] * 4, mode="reflect")
        down = moves[0, :, None] + torch.arange(height, device=values.device)
        right = moves[1, :, None] + torch.arange(width, device=values.device)
        row = torch.arange(rows, device=values.device)[:, None, None]
        # Indexing by several tensors around a slice brings their axes to the front.
        return padded[row, :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2).contiguous()


class Affine(OfImages, StepConfig):
    """Turns, zooms and shears around the middle; what comes in at the margin is the mirror of what is there."""

    moves: ClassVar[bool] = True
    kind: Literal["affine"] = "affine"
    feature: str = FEATURE
    rotation: float = Field(0.0, ge=0, le=180, description="degrees at most, either way")
    zoom: float = Field(0.0, ge=0, lt=1, description="0.2: from 0.8 to 1.2 times as large")
    shear: float = Field(0.0, ge=0, le=1, description="by how much of its height the image leans at most, either way")

    def apply(self, values: Any, draw: Any) -> Any:
        """The same shape, sampled between pixels in straight lines."""
        import torch

        rows, _, height, width = values.shape
        spread = torch.rand(3, rows, generator=draw, device=values.device) * 2 - 1
        angle, lean = spread[0] * self.rotation * torch.pi / 180, spread[2] * self.shear
        scale = 1 + spread[1] * self.zoom
        # Where each pixel of the result comes from, in units of half the sides.
        cos, sin, ratio = angle.cos() / scale, angle.sin() / scale, height / width
        none = torch.zeros_like(cos)
        top = torch.stack([cos, (lean * cos - sin) * ratio, none], 1)
        bottom = torch.stack([sin / ratio, lean * sin + cos, none], 1)
        grid = torch.nn.functional.affine_grid(torch.stack([top, bottom], 1), list(values.shape), align_corners=False)
        return torch.nn.functional.grid_sample(values, grid, padding_mode="reflection", align_corners=False)


class Colour(OfImages, StepConfig):
    """Changes brightness, contrast and saturation; in the units of the tensor, whose deviation is about one."""

    kind: Literal["colour"] = "colour"
    feature: str = FEATURE
    brightness: float = Field(0.2, ge=0, description="what is added at most, either way")
    contrast: float = Field(0.2, ge=0, lt=1, description="0.2: from 0.8 to 1.2 times as far from the image's mean")
    saturation: float = Field(0.2, ge=0, lt=1, description="0.2: from 0.8 to 1.2 times as far from its grey")

    def apply(self, values: Any, draw: Any) -> Any:
        """The same shape."""
        import torch

        spread = torch.rand(3, len(values), 1, 1, 1, generator=draw, device=values.device) * 2 - 1
        grey = values.mean(1, keepdim=True)
        values = grey + (values - grey) * (1 + spread[0] * self.saturation)
        mean = values.mean((1, 2, 3), keepdim=True)
        return mean + (values - mean) * (1 + spread[1] * self.contrast) + spread[2] * self.brightness


class Cutout(OfImages, StepConfig):
    """Sets a square of each image to zero, the mean of the training rows (DeVries and Taylor 2017)."""

    kind: Literal["cutout"] = "cutout"
    feature: str = FEATURE
    share: float = Field(0.25, gt=0, le=1, description="the square's side, of the image's shorter one")

    def apply(self, values: Any, draw: Any) -> Any:
        """The same shape."""
        rows, _, height, width = values.shape
        side = max(1, round(self.share * min(height, width)))
        return values.masked_fill(boxes(rows, (height, width), (side, side), draw)[:, None], 0.0)


def boxes(rows: int, shape: tuple[int, int], sides: Any, draw: Any) -> Any:
    """bool[rows, height, width]: true in a box with `sides` around a middle drawn anywhere, cut off at the margins."""
    import torch

    found = []
    for length, side in zip(shape, sides, strict=True):
        middle = torch.randint(0, length, (rows, 1), generator=draw, device=draw.device)
        place = torch.arange(length, device=draw.device)
        low = middle - torch.as_tensor(side, device=draw.device) // 2
        found.append((place >= low) & (place < low + side))
    return found[0][:, :, None] & found[1][:, None, :]

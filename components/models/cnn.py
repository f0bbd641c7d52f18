"""The convolutional network: a list of layers over one image input."""

from collections.abc import Sequence
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec

Shape = tuple[int, ...]
"""Of one row between two layers: maps, height and width; or, once it is flat, numbers."""
Built = tuple[list[Any], Shape]


class Conv(StepConfig):
    """A convolution with ReLU."""

    kind: Literal["conv"] = "conv"
    channels: int = Field(ge=1, description="feature maps")
    kernel: int = Field(3, ge=1, description="side of the window, in pixels")
    norm: bool = Field(False, description="batch normalisation before the ReLU")
    stride: int = Field(1, ge=1, description="by how much height and width are divided")
    padding: Literal["same", "valid"] = Field("same", description="same keeps height and width; valid loses a margin")

    def build(self, shape: Shape) -> Built:
        """Its modules, and the shape behind them."""
        from torch import nn

        maps, height, width = shape
        lost = self.kernel - 1 if self.padding == "valid" else 0
        # torch pads for strides by numbers only; of an even window one side has to be padded more.
        padding: Any = self.padding if self.stride == 1 or lost else self.kernel // 2
        modules: list[Any] = [
            nn.Conv2d(maps, self.channels, self.kernel, self.stride, padding=padding, bias=not self.norm),
            *([nn.BatchNorm2d(self.channels)] if self.norm else []),
            nn.ReLU(),
        ]
        return modules, (self.channels, *(-(-(side - lost) // self.stride) for side in (height, width)))

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.stride > 1 and self.padding == "same" and self.kernel % 2 == 0:
            raise ValueError("a strided conv with an even kernel needs padding: valid")
        return self


class Residual(StepConfig):
    """Two normalised convolutions that are added to what came in (He et al. 2015)."""

    kind: Literal["residual"] = "residual"
    channels: int = Field(ge=1, description="feature maps")
    stride: int = Field(1, ge=1, description="by how much height and width are divided")

    def build(self, shape: Shape) -> Built:
        """Its modules, and the shape behind them."""
        from components.models.blocks import ResidualBlock

        maps, height, width = shape
        behind = (self.channels, -(-height // self.stride), -(-width // self.stride))
        return [ResidualBlock(maps, self.channels, self.stride)], behind


class Pool(StepConfig):
    """Windows that do not overlap, each as one number."""

    kind: Literal["pool"] = "pool"
    size: int = Field(2, ge=0, description="side of the window, in pixels; 0: the whole map, which is flat then")
    how: Literal["max", "average"] = Field("max", description="which number")

    def build(self, shape: Shape) -> Built:
        """Its modules, and the shape behind them."""
        from torch import nn

        maps, height, width = shape
        if not self.size:
            whole = nn.AdaptiveMaxPool2d(1) if self.how == "max" else nn.AdaptiveAvgPool2d(1)
            return [whole, nn.Flatten()], (maps,)
        window = nn.MaxPool2d(self.size) if self.how == "max" else nn.AvgPool2d(self.size)
        return [window], (maps, height // self.size, width // self.size)


class Dense(StepConfig):
    """A fully connected layer with ReLU; the maps are flattened before the first."""

    kind: Literal["dense"] = "dense"
    units: int = Field(ge=1, description="width")

    def build(self, shape: Shape) -> Built:
        """Its modules, and the shape behind them."""
        from torch import nn

        return [*_flat(shape), nn.Linear(prod(shape), self.units), nn.ReLU()], (self.units,)


class Dropout(StepConfig):
    """Zeroes activations in training."""

    kind: Literal["dropout"] = "dropout"
    share: float = Field(ge=0, lt=1, description="share of activations")

    def build(self, shape: Shape) -> Built:
        """Its modules, and the shape behind them."""
        from torch import nn

        return [nn.Dropout(self.share)], shape


Layer = Annotated[Conv | Residual | Pool | Dense | Dropout, Field(discriminator="kind")]


class Cnn(StepConfig):
    """Layers in order; the output head is added behind them."""

    kind: Literal["cnn"] = "cnn"
    layers: tuple[Layer, ...] = Field(min_length=1, description="conv, residual, pool, dense and dropout layers")

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from one named image, float32[batch, channels, height, width], to named outputs.

        Raises:
            ConfigError: E_CONFIG, there is no image; a layer does not fit behind those before it.
        """
        from torch import nn

        from components.models.blocks import Keyed, Single

        if len(inputs) != 1 or len(inputs[0].shape) != 3:
            raise ConfigError(
                "E_CONFIG",
                "a cnn needs one image and nothing else",
                place="model.kind",
                value=[spec.name for spec in inputs],
                allowed="one feature of kind image",
                action="change the features or the model",
            )
        shape: Shape = inputs[0].shape
        modules: list[nn.Module] = []
        for number, layer in enumerate(self.layers):
            _check_fits(layer, shape, number)
            more, shape = layer.build(shape)
            modules += more
        return Keyed(Single(inputs[0].name, nn.Sequential(*modules, *_flat(shape))), prod(shape), outputs)


def _flat(shape: Shape) -> list[Any]:
    from torch import nn

    return [nn.Flatten()] if len(shape) > 1 else []


def _check_fits(layer: Layer, shape: Shape, number: int) -> None:
    """Raise E_CONFIG where a layer needs maps, or larger ones, than there are."""
    if isinstance(layer, Dense | Dropout):
        return
    least = layer.size if isinstance(layer, Pool) else 1
    if isinstance(layer, Conv) and layer.padding == "valid":
        least = layer.kernel
    if len(shape) == 3 and min(shape[1:]) >= least:
        return
    raise ConfigError(
        "E_CONFIG",
        f"a {layer.kind} layer does not fit behind the layers before it",
        place=f"model.layers.{number}",
        value=f"{' x '.join(map(str, shape))} {'numbers' if len(shape) == 1 else 'maps'}",
        allowed=f"maps of at least {max(least, 1)} x {max(least, 1)}",
        action="leave it out, or make the image larger",
    )

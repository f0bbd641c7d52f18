"""The convolutional network: a list of layers over one image input."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec


class Conv(StepConfig):
    """A convolution with ReLU."""

    kind: Literal["conv"] = "conv"
    channels: int = Field(ge=1, description="feature maps")
    kernel: int = Field(3, ge=1, description="side of the window, in pixels")
    norm: bool = Field(False, description="batch normalisation before the ReLU")
    padding: Literal["same", "valid"] = Field("same", description="same keeps height and width; valid loses a margin")


class Pool(StepConfig):
    """Maximum over windows that do not overlap."""

    kind: Literal["pool"] = "pool"
    size: int = Field(2, ge=2, description="side of the window, in pixels")


class Dense(StepConfig):
    """A fully connected layer with ReLU; the maps are flattened before the first."""

    kind: Literal["dense"] = "dense"
    units: int = Field(ge=1, description="width")


class Dropout(StepConfig):
    """Zeroes activations in training."""

    kind: Literal["dropout"] = "dropout"
    share: float = Field(ge=0, lt=1, description="share of activations")


Layer = Annotated[Conv | Pool | Dense | Dropout, Field(discriminator="kind")]


class Cnn(StepConfig):
    """Layers in order; the output head is added behind them."""

    kind: Literal["cnn"] = "cnn"
    layers: tuple[Layer, ...] = Field(min_length=1, description="conv, pool, dense and dropout layers")

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from one named image, float32[batch, channels, height, width], to named outputs."""
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
        channels, height, width = inputs[0].shape
        modules: list[nn.Module] = []
        flat = False
        for layer in self.layers:
            if isinstance(layer, Conv):
                modules.append(
                    nn.Conv2d(channels, layer.channels, layer.kernel, padding=layer.padding, bias=not layer.norm)
                )
                lost = layer.kernel - 1 if layer.padding == "valid" else 0
                height, width = height - lost, width - lost
                modules += [nn.BatchNorm2d(layer.channels)] if layer.norm else []
                modules.append(nn.ReLU())
                channels = layer.channels
            elif isinstance(layer, Pool):
                modules.append(nn.MaxPool2d(layer.size))
                height, width = height // layer.size, width // layer.size
            elif isinstance(layer, Dense):
                size = channels if flat else channels * height * width
                modules += [] if flat else [nn.Flatten()]
                modules += [nn.Linear(size, layer.units), nn.ReLU()]
                channels, flat = layer.units, True
            else:
                modules.append(nn.Dropout(layer.share))
        size = channels if flat else channels * height * width
        modules += [] if flat else [nn.Flatten()]
        return Keyed(Single(inputs[0].name, nn.Sequential(*modules)), size, outputs)

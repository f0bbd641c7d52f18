"""The autoencoder: an input through a narrow code and back, dense or by convolutions, plain or variational."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec


class Autoencoder(StepConfig):
    """An encoder and its mirror; its network also has `encode` and, for variational codes, `sample`."""

    serves: ClassVar[tuple[str, ...]] = ("reconstruction",)

    kind: Literal["autoencoder"] = "autoencoder"
    code: int = Field(16, ge=1, description="numbers that a row becomes")
    hidden: tuple[int, ...] = Field(
        (128,), description="widths of the layers before the code; behind it they come back"
    )
    channels: tuple[int, ...] = Field(
        (), description="of an image: maps of convolutions before those layers, each of which halves height and width"
    )
    variational: bool = Field(False, description="the code is drawn from a distribution (Kingma and Welling 2014)")

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from named inputs to the one that is given back.

        Raises:
            ConfigError: E_CONFIG, the objective wants something else than an input, or the image does not divide.
        """
        from components.models.coding import Coder, VariationalCoder

        given = next((one for one in inputs if one.name == outputs[0].name), None)
        if given is None or len(outputs) != 1 or given.shape != outputs[0].shape:
            raise ConfigError(
                "E_CONFIG",
                "an autoencoder gives one of its inputs back",
                place="model.kind",
                value=", ".join(one.name for one in outputs),
                allowed="objective: {kind: reconstruction}",
                action="change the objective or the model",
            )
        network = VariationalCoder if self.variational else Coder
        maps = _halved(given.shape, self.channels)
        return network(given, code=self.code, hidden=self.hidden, channels=self.channels, maps=maps)


def _halved(shape: Sequence[int], channels: Sequence[int]) -> tuple[int, ...]:
    """Maps, height and width behind the convolutions; nothing without any."""
    if not channels:
        return ()
    times = 2 ** len(channels)
    if len(shape) != 3 or shape[1] % times or shape[2] % times:
        raise ConfigError(
            "E_CONFIG",
            f"{len(channels)} convolutions halve an image that often",
            place="model.channels",
            value=list(shape),
            allowed=f"one image whose height and width {times} divides",
            action="name fewer, or change the feature's size",
        )
    return channels[-1], shape[1] // times, shape[2] // times

"""A generator and its critic: by convolutions for pictures (Radford et al. 2015), dense for rows of numbers."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec


class Gan(StepConfig):
    """Draws rows from noise; inputs that are classes are told to both, and what is drawn is of these."""

    serves: ClassVar[tuple[str, ...]] = ("adversarial",)

    kind: Literal["gan"] = "gan"
    noise: int = Field(64, ge=1, description="numbers that a row is drawn from")
    channels: tuple[int, ...] = Field(
        (128, 64), min_length=1, description="of pictures: maps of the generator; each doubles height and width, "
        "the critic's are the same the other way round"
    )  # fmt: skip
    hidden: tuple[int, ...] = Field((128, 128), min_length=1, description="of other rows: widths of both nets")
    embedding: int = Field(16, ge=1, description="numbers that a class becomes")
    bounded: bool = Field(False, description="what is drawn lies between 0 and 1, as images with normalise: unit do")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the critic's activations that are zeroed in training")

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from named inputs to a drawn row, and how real the given one looks.

        Raises:
            ConfigError: E_CONFIG, an input is neither what is drawn nor classes; a picture's sides do not divide.
        """
        from components.models.players import Players

        given = outputs[0]
        told = [one for one in inputs if one.name != given.name]
        wrong = next((one.name for one in told if not one.classes or one.sequence), None)
        if wrong is not None:
            raise ConfigError(
                "E_CONFIG",
                "what a gan is told beside are classes",
                place="model.kind",
                value=wrong,
                allowed="a feature of kind category, with encoding: index",
                action="leave it out",
            )
        times = 2 ** len(self.channels)
        if len(given.shape) == 3 and (given.shape[1] % times or given.shape[2] % times):
            raise ConfigError(
                "E_CONFIG",
                f"{len(self.channels)} convolutions double a picture that often",
                place="model.channels",
                value=list(given.shape),
                allowed=f"a picture whose height and width {times} divides",
                action="name fewer, or change the feature's size",
            )
        return Players(
            given,
            told,
            noise=self.noise,
            widths=self.channels if len(given.shape) == 3 else self.hidden,
            embedding=self.embedding,
            dropout=self.dropout,
            bounded=self.bounded,
        )

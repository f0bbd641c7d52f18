"""Several inputs, each with a model of its own, and their codes brought together: pictures, texts and tables in one."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, SerializeAsAny, model_validator

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.registry import Kinds, nearest
from components.contracts.spec import TensorSpec
from components.models import KINDS

CODE = "code"


class Encoder(StepConfig):
    """Some inputs, and the model that reads them."""

    inputs: tuple[str, ...] = Field(min_length=1, description="names of features")
    model: Annotated[SerializeAsAny[BaseModel], Kinds("models", KINDS)] = Field(
        description="which turns them into a code"
    )


class Composite(StepConfig):
    """Codes of equal width from one model for each group of inputs, fused, then dense layers and the heads."""

    kind: Literal["composite"] = "composite"
    encoders: tuple[Encoder, ...] = Field(min_length=1, description="each input is read by one of them")
    width: int = Field(32, ge=4, description="of each code; for attention, four divides it")
    fuse: Literal["concatenate", "product", "gated", "attention"] = Field(
        "concatenate",
        description="concatenate: side by side; product: multiplied, which makes two of them two towers; gated: added, "
        "each by a weight that all of them decide (Arevalo 2017); attention: each looks at the others "
        "(Vaswani 2017), then their mean",
    )
    hidden: tuple[int, ...] = Field((64,), description="widths of the dense layers behind")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of activations that are zeroed in training")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        names = [name for one in self.encoders for name in one.inputs]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise ValueError(f"two encoders read {double}")
        if self.fuse == "attention" and self.width % 4:
            raise ValueError("for attention, four has to divide model.width")
        return self

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from named inputs to named outputs.

        Raises:
            ConfigError: E_CONFIG, an input is read by no encoder, or an encoder names none.
        """
        from components.models.blocks import Keyed
        from components.models.fusion import Fused

        specs = {one.name: one for one in inputs}
        self._check(specs)
        code = TensorSpec(name=CODE, shape=(self.width,), dtype="float32")
        encoders = [
            (one.inputs, one.model.build([specs[name] for name in one.inputs], [code]))  # type: ignore[attr-defined]
            for one in self.encoders
        ]
        trunk = Fused(encoders, CODE, width=self.width, how=self.fuse, hidden=self.hidden, dropout=self.dropout)
        return Keyed(trunk, trunk.behind, outputs)

    def _check(self, specs: dict[str, TensorSpec]) -> None:
        read = [name for one in self.encoders for name in one.inputs]
        for number, one in enumerate(self.encoders):
            if getattr(one.model, "serves", ()) or getattr(one.model, "passes", False):
                raise ConfigError(
                    "E_CONFIG",
                    "a model of this kind gives no code",
                    place=f"model.encoders.{number}.model.kind",
                    value=one.model.kind,  # type: ignore[attr-defined]
                    allowed="models that learn any objective, such as mlp, cnn, recurrent, transformer",
                    action="change it",
                )
            wrong = next((name for name in one.inputs if name not in specs), None)
            if wrong is not None:
                raise ConfigError(
                    "E_CONFIG",
                    f"no feature has this name{nearest(wrong, specs)}",
                    place=f"model.encoders.{number}.inputs",
                    value=wrong,
                    allowed=", ".join(specs),
                    action="name one of these",
                )
        lost = next((name for name in specs if name not in read), None)
        if lost is not None:
            raise ConfigError(
                "E_CONFIG",
                "no encoder reads this feature",
                place="model.encoders",
                value=lost,
                action="name it in the inputs of one, or leave the feature out",
            )

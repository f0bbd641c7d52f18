"""Linear regression in closed form: one pass over the rows, and no learning rate."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec
from components.models.passing import State, Sums, Tensors, check_real, side_by_side


class LeastSquares(StepConfig):
    """The weights with the least squared error; `ridge` keeps them small."""

    passes: ClassVar[bool] = True
    serves: ClassVar[tuple[str, ...]] = ("regression",)
    rows_a_pass: ClassVar[int] = 0

    kind: Literal["least-squares"] = "least-squares"

    def check(self, objective: Any) -> None:
        """Raise E_CONFIG where another error than the squared one is to be least."""
        if getattr(objective, "error", "squared") != "squared":
            raise ConfigError(
                "E_CONFIG",
                "least squares know no other error",
                place="objective.error",
                value=objective.error,
                allowed="squared",
                action="change it, or take a model of kind linear",
            )

    ridge: float = Field(0.0, ge=0, description="added squared length of the weights, in rows (Hoerl and Kennard 1970)")

    def begin(self, sample: Tensors, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], seed: int) -> State:
        """No weights yet: float64[numbers + 1, targets]."""
        return {"weights": np.zeros((side_by_side(sample).shape[1] + 1, outputs[0].size))}

    def look(self, state: State, inputs: Tensors, targets: Tensors) -> Sums:
        """The products of all numbers with each other and with the targets; the error of the weights so far."""
        rows = side_by_side(inputs).double().numpy()
        rows = np.hstack([rows, np.ones((len(rows), 1))])
        (wanted,) = (targets[name].double().numpy() for name in targets if name not in inputs)
        missed = (rows @ state["weights"] - wanted) ** 2
        return {
            "squares": rows.T @ rows,
            "products": rows.T @ wanted,
            "loss": missed.mean(axis=1).sum(),
            "rows": np.array(float(len(rows))),
        }

    def step(self, state: State, sums: Sums) -> tuple[State, bool]:
        """The solution; of columns that say the same, the shortest one."""
        squares = sums["squares"].copy()
        # The constant is not kept small.
        squares[:-1, :-1] += self.ridge * np.eye(len(squares) - 1)
        return {"weights": np.linalg.lstsq(squares, sums["products"], rcond=None)[0]}, True

    def weights(self, state: State) -> dict[str, NDArray[Any]]:
        """Of the one linear layer."""
        found = state["weights"].astype(np.float32)
        return {"layer.weight": found[:-1].T, "layer.bias": found[-1]}

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from named inputs to the one output.

        Raises:
            ConfigError: E_CONFIG, an input is none of numbers.
        """
        from torch import Tensor, nn

        width, output = check_real(inputs, self.kind), outputs[0]

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(width, output.size)

            def forward(self, values: Tensors) -> dict[str, Tensor]:
                return {output.name: self.layer(side_by_side(values)).reshape(-1, *output.shape)}

        return Network()

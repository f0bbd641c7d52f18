"""What a model offers that is fitted without gradients, in passes over the training rows (train/passes.py).

`begin` makes the first state from a sample, `look` sums up a batch as seen from a state, sums of batches and partitions
are added number by number, and `step` makes the next state of the whole sum. States and sums are numbers in arrays.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from components.contracts.spec import TensorSpec

State = dict[str, Any]
Sums = dict[str, Any]
"""Numbers in arrays, or sparse ones of SciPy."""
Tensors = Mapping[str, Any]


class Passing(Protocol):
    """A model's config whose weights come from sums over rows.

    `passes` tells it from models of gradients. With `rows_a_pass` each pass looks at so many rows, drawn anew. One may
    offer `rests(state)`, whether the next step needs no row, and `shown(state)`, what of a large state `look` needs.
    """

    passes: ClassVar[bool]
    rows_a_pass: int

    def begin(self, sample: Tensors, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], seed: int) -> State:
        """The first state, from some training rows' inputs of numbers."""

    def look(self, state: State, inputs: Tensors, targets: Tensors) -> Sums:
        """What a batch says; `rows` and `loss` (the sum over its rows; of several beginnings, each) among it."""

    def step(self, state: State, sums: Sums) -> tuple[State, bool]:
        """The next state, and whether it is the last."""

    def weights(self, state: State) -> dict[str, NDArray[Any]]:
        """The network's, by name."""

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """The network."""


def added(first: Sums, second: Sums) -> Sums:
    """Two sums as one; sparse ones stay sparse."""
    whole = {name: value + second[name] for name, value in first.items()}
    return {name: one if hasattr(one, "tocsr") else np.asarray(one) for name, one in whole.items()}


def side_by_side(inputs: Tensors) -> Any:
    """All real inputs as float32[rows, numbers], in the order of their names."""
    import torch

    return torch.cat([inputs[name].flatten(1) for name in sorted(inputs) if inputs[name].is_floating_point()], 1)


def check_real(inputs: Sequence[TensorSpec], model: str) -> int:
    """How many numbers a row has.

    Raises:
        ConfigError: E_CONFIG, an input is none of numbers.
    """
    from components.contracts.errors import ConfigError

    wrong = next((one.name for one in inputs if one.classes or -1 in one.shape), None)
    if wrong is not None:
        raise ConfigError(
            "E_CONFIG",
            f"{model} reads numbers",
            place="model.kind",
            value=wrong,
            allowed="features of numbers, categories with encoding: one-hot",
            action="change the feature or the model",
        )
    return sum(one.size for one in inputs)

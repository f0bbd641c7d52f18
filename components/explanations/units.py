"""Explained rows, and what each consists of as a person sees it: columns, words, points of a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Units:
    """One input's.

    `weights` float32[rows, units] speak for the answer; `there` are those that a row has; units of one name are added
    up when columns are put in order.
    """

    spec: Any
    names: list[str]
    weights: NDArray[np.float32]
    there: NDArray[np.bool_]


@dataclass(frozen=True)
class Seen:
    """Rows whose answers are explained: their tensors, the outputs, and by input what speaks for output `chosen`."""

    predictor: Any
    tensors: Mapping[str, Any]
    outputs: NDArray[np.float32]
    chosen: NDArray[np.int64]
    given: Mapping[str, NDArray[np.float32]]

    @cached_property
    def specs(self) -> list[Any]:
        """Of the inputs."""
        pairs = zip(self.predictor.features, self.predictor.fitted, strict=True)
        return [feature.spec(known.state) for feature, known in pairs]

    @cached_property
    def units(self) -> list[Units]:
        """Of the inputs."""
        triples = zip(self.predictor.features, self.predictor.fitted, self.specs, strict=True)
        return [
            _units(feature, known.state, spec, self.given[spec.name], self.tensors[spec.name].numpy())
            for feature, known, spec in triples
        ]

    @property
    def classes(self) -> Sequence[str]:
        """None of a number."""
        found: Sequence[str] = self.predictor.target.classes
        return found

    @property
    def sign(self) -> NDArray[np.int64]:
        """Of two classes, weights times this speak for the second; of more, for the one that is predicted."""
        return np.where(self.chosen == 1, 1, -1) if len(self.classes) == 2 else np.ones(len(self.chosen), np.int64)

    @property
    def towards(self) -> str:
        """The same in words."""
        return f"for {self.classes[1]}" if len(self.classes) == 2 else "for what is predicted"

    def answer(self, row: int) -> str:
        """What was predicted."""
        return self.classes[self.chosen[row]] if self.classes else f"{self.outputs[row, 0]:+.2f} of its scale"

    def some(self, count: int) -> NDArray[np.int64]:
        """Rows from all over."""
        return np.unique(np.linspace(0, len(self.chosen) - 1, count).astype(np.int64))


def _units(feature: Any, state: dict[str, Any], spec: Any, given: NDArray[np.float32], values: NDArray[Any]) -> Units:
    if len(spec.shape) > 1:
        # Points of a picture, over its channels; steps of a series.
        weights = given.sum(1).reshape(len(given), -1)
        return Units(spec, [spec.name] * weights.shape[1], weights, np.ones(weights.shape, bool))
    if spec.sequence:
        return Units(spec, [spec.name] * given.shape[1], given, values != 0)
    return Units(spec, _names(list(feature.columns), state, spec, given.shape[1]), given, np.ones(given.shape, bool))


def _names(columns: list[str], state: dict[str, Any], spec: Any, width: int) -> list[str]:
    if width == len(columns):
        return columns
    if width == len(state.get("words", ())):
        return list(state["words"])
    sizes = [len(one) + 1 for one in state.get("vocabularies", ())]
    if len(sizes) == len(columns) and sum(sizes) == width:
        return [name for name, size in zip(columns, sizes, strict=True) for _ in range(size)]
    return [columns[0]] * width if len(columns) == 1 else [f"{spec.name} {at}" for at in range(width)]

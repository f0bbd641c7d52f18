"""The base of sources whose cells are read by what the recipe declares of their columns."""

from collections.abc import Sequence
from typing import Self

from pydantic import PrivateAttr

from components.contracts.config import StepConfig
from components.contracts.spec import Column


class DeclaredSource(StepConfig):
    """A source that knows the declared columns while it reads."""

    _declared: tuple[Column, ...] = PrivateAttr(())

    def declaring(self, columns: Sequence[Column]) -> Self:
        """The same source, reading these columns as what they are declared."""
        copy = self.model_copy()
        copy._declared = tuple(columns)  # noqa: SLF001 - its own
        return copy

"""How probabilities become an answer: their temperature, and from where on the second of two classes is said.

Both are chosen on validation rows when a package is made (package.py), and travel with it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import Frozen

LEAST = 1e-30
"""Probabilities are not taken for less, so that each has a logarithm."""
EVERYBODY = ""
DECIDED = "decided"
"""In answers, where a threshold decided: int64[rows], the class."""


class Decision(Frozen):
    """`thresholds` has one by group; that of EVERYBODY is for groups that it does not know.

    A group is what stands in `columns`, as `group_of` says it.
    """

    temperature: float = Field(1.0, gt=0)
    thresholds: dict[str, float] = Field({})
    columns: tuple[str, ...] = ()

    def applied(self, answers: Mapping[str, NDArray[Any]], rows: pa.Table | None) -> dict[str, NDArray[Any]]:
        """The answers for these raw rows with their probabilities softened, and decided.

        A decision without columns asks for no rows.
        """
        found = dict(answers)
        if "probabilities" not in found:
            return found
        probabilities = softened(found["probabilities"], self.temperature)
        found["probabilities"] = probabilities
        if self.thresholds:
            bound = np.full(len(probabilities), self.thresholds[EVERYBODY])
            for group, threshold in self.thresholds.items():
                if group != EVERYBODY and rows is not None:
                    bound[group_of(rows, self.columns) == group] = threshold
            found[DECIDED] = (probabilities[:, 1] >= bound).astype(np.int64)
        return found


def softened(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities of logits that were divided by the temperature (Guo 2017)."""
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities.astype(np.float64), LEAST)) / temperature
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True), np.float32)


def decided(answers: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """The class that each row is given: the likeliest, unless a threshold says otherwise."""
    found: NDArray[np.int64] = answers[DECIDED] if DECIDED in answers else answers["probabilities"].argmax(1)
    return found


def group_of(rows: pa.Table, columns: tuple[str, ...]) -> NDArray[Any]:
    """What stands in the columns of each row, as one text."""
    cells = [["missing" if one is None else str(one) for one in rows[name].to_pylist()] for name in columns]
    return np.array([", ".join(row) for row in zip(*cells, strict=True)], object)

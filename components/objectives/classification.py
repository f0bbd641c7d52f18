"""Single-label classification: cross-entropy over the classes of a label target."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ROW_WEIGHT, TensorSpec

FLOOR = 1e-7
"""Probabilities are clipped here before the logarithm, so that one sure mistake costs 16 nats and not infinity."""


class Classification(StepConfig):
    """One of several classes per row."""

    kind: Literal["classification"] = "classification"
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")

    def outputs(self, targets: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """One logit per class, under the target's name."""
        target = targets[0]
        return (TensorSpec(name=target.name, shape=(target.classes[0],), dtype="float32"),)

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Mean of the rows' cross-entropy in nats, times ROW_WEIGHT if given.

        outputs float32[batch, classes], targets int64[batch].
        """
        from torch.nn.functional import cross_entropy

        (name,) = outputs
        if ROW_WEIGHT not in targets:
            return cross_entropy(outputs[name], targets[name], label_smoothing=self.label_smoothing)
        rows = cross_entropy(outputs[name], targets[name], label_smoothing=self.label_smoothing, reduction="none")
        return (rows * targets[ROW_WEIGHT]).mean()

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """Sums over the batch, times ROW_WEIGHT if given; divided by the rows they are an epoch's metrics."""
        (name,) = outputs
        right = outputs[name].argmax(1) == targets[name]
        return {"accuracy": (right * targets.get(ROW_WEIGHT, 1)).sum()}

    def decode(self, outputs: Mapping[str, Any]) -> NDArray[np.float32]:
        """Class probabilities, float32[rows, classes]."""
        (logits,) = outputs.values()
        return np.asarray(logits.softmax(1).cpu().numpy(), np.float32)

    def row_metrics(self, probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Metrics that are means over rows: per row, so that they can be resampled."""
        chosen = probabilities[np.arange(len(truth)), truth].astype(np.float64)
        return {
            "accuracy": (probabilities.argmax(1) == truth).astype(np.float64),
            "log_loss": -np.log(np.clip(chosen, FLOOR, 1.0)),
        }

    def baseline(self, counts: Sequence[int], truth: NDArray[np.int64]) -> dict[str, float]:
        """What always naming the most frequent training class, at its training frequency, would reach."""
        shares = np.array(counts, np.float64) / sum(counts)
        constant = np.tile(shares, (len(truth), 1)).astype(np.float32)
        return {name: float(values.mean()) for name, values in self.row_metrics(constant, truth).items()}

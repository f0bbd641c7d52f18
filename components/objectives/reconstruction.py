"""Reconstruction: an input is given back after it went through something narrow; what that fails at is unusual.

With a target of kind `anomaly`, rows that it marks are not learnt from, and the test part says how well the error tells
them apart. Denoising (Vincent 2008) is an augmentation of the input: what is given back is the input before it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import CODE_LOG_VARIANCE, CODE_MEAN, ROW_WEIGHT, TensorSpec
from components.objectives.objective import Answers, Facts, Figure, Pooled, Target, Told, given_input
from components.objectives.ranking import area


class Reconstruction(StepConfig):
    """Give one input back."""

    relative: ClassVar[bool] = True
    targets: ClassVar[tuple[str, ...]] = ("none", "anomaly")
    monitored: ClassVar[Mapping[str, bool]] = {}
    metrics: ClassVar[tuple[str, ...]] = ("mse", "auroc", "normal_mse")
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"mse", "normal_mse"})
    baseline_name: ClassVar[str] = "zeros for every row"

    kind: Literal["reconstruction"] = "reconstruction"
    feature: str = Field("", description="the input that is given back; empty: the only one")
    error: Literal["squared", "absolute"] = Field("squared", description="what is learnt from")
    divergence: float = Field(
        1.0, ge=0, description="weight of a variational code's divergence from the normal distribution (Higgins 2017)"
    )

    def outputs(self, targets: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """As many numbers as the input has, under its name."""
        return (given_input(inputs, self.feature),)

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Mean over rows and numbers of the error, times ROW_WEIGHT if given.

        outputs and the input of that name float32[batch, …]. The divergence is added per number, which makes the whole
        the evidence bound of a normal distribution around the output (Kingma and Welling 2014), up to constants.
        """
        (name,) = _given_back(outputs, targets)
        missed = (outputs[name] - targets[name]).flatten(1)
        rows = (missed**2 if self.error == "squared" else missed.abs()).mean(1)
        if CODE_MEAN in outputs and self.divergence:
            mean, log = outputs[CODE_MEAN], outputs[CODE_LOG_VARIANCE]
            rows = rows + self.divergence * (mean**2 + log.exp() - 1 - log).sum(1) / missed.shape[1]
        return (rows * targets.get(ROW_WEIGHT, 1)).mean()

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """The loss says it."""
        return {}

    def decode(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], target: Target) -> Answers:
        """`values`, float32[rows, numbers], and each row's `error` and that of `zeros`: mean squares, float64[rows]."""
        (name,) = _given_back(outputs, inputs)
        found, wanted = (one.flatten(1).cpu().numpy() for one in (outputs[name], inputs[name]))
        error = ((found - wanted).astype(np.float64) ** 2).mean(1)
        return {"values": found, "error": error, "zeros": (wanted.astype(np.float64) ** 2).mean(1)}

    def columns(self, target: Target) -> dict[str, pa.DataType]:
        """`prediction`, how unusual the row is, and `values`, what was given back."""
        return {"prediction": pa.float64(), "values": pa.list_(pa.float64())}

    def table(self, answers: Answers, target: Target) -> pa.Table:
        """The mean squared error of each row, and the numbers as the model sees them."""
        kinds = self.columns(target)
        values = pa.array(list(answers["values"].astype(np.float64)), kinds["values"])
        return pa.table({"prediction": pa.array(answers["error"]), "values": values})

    def row_metrics(self, answers: Answers, truth: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """The mean squared error."""
        return {"mse": answers["error"]}

    def facts(self, answers: Answers, truth: NDArray[np.int64]) -> Facts:
        """What is an anomaly, and the errors."""
        return {"truth": truth, "error": answers["error"], "zeros": answers["zeros"]}

    def pooled(self, facts: Facts) -> Pooled:
        """Of rows that are marked: the area under the ROC curve of the error, and the error of the others."""
        marked, error = facts["truth"] == 1, facts["error"]
        if not marked.any() or marked.all():
            return lambda _: {}
        under = area(error, marked)

        def measured(weights: NDArray[np.float64]) -> dict[str, float]:
            usual = weights * ~marked
            return {"auroc": under(weights), "normal_mse": float(usual @ error / max(usual.sum(), 1e-12))}

        return measured

    def constant(self, target: Target, facts: Facts) -> Answers:
        """Zeros, which is the mean of a feature that is standardised."""
        return {"error": facts["zeros"], "zeros": facts["zeros"]}

    def badness(self, answers: Answers, truth: NDArray[np.int64]) -> NDArray[np.float64]:
        """The error."""
        return np.asarray(answers["error"])

    def told(self, answers: Answers, truth: NDArray[np.int64], row: int, target: Target) -> Told:
        """How far off it is, and whether it is marked."""
        marked = "an anomaly" if truth[row] else "usual"
        return Told(truth=marked, predicted=f"error {answers['error'][row]:.4g}", note="mean square over the numbers")

    def figures(self, facts: Facts, target: Target) -> list[Figure]:
        """How the errors are spread."""
        marked, error = facts["truth"] == 1, facts["error"]
        shown = [("Errors", ~marked), ("Errors of anomalies", marked)]
        figures = []
        for title, rows in shown:
            if rows.any():
                heights, edges = np.histogram(error[rows], 40, (0, float(error.max()) or 1.0))
                figures.append({
                    "kind": "histogram",
                    "title": title,
                    "of": "mean squared error",
                    "heights": heights.tolist(),
                    "edges": edges.tolist(),
                })
        return figures


def _given_back(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[str]:
    return [name for name in outputs if name in inputs]

"""Regression: numbers, with a loss that is chosen by what a mistake costs."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from components.contracts.config import StepConfig
from components.contracts.spec import ROW_WEIGHT, TensorSpec
from components.objectives.objective import Answers, Facts, Figure, Pooled, Target, Told, output_of

SHOWN = 2000
"""Points of a scatter plot."""


class Regression(StepConfig):
    """One number, or several, per row."""

    targets: ClassVar[tuple[str, ...]] = ("value",)
    monitored: ClassVar[Mapping[str, bool]] = {"absolute_error": False}
    metrics: ClassVar[tuple[str, ...]] = ("mae", "mse", "r2", "rmse", "coverage")
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"mae", "mse", "rmse"})
    baseline_name: ClassVar[str] = "mean of the training rows"

    kind: Literal["regression"] = "regression"
    error: Literal["squared", "absolute", "huber", "quantile"] = Field(
        "squared",
        description="squared: the mean is learnt; absolute: the median; huber: squared near zero, absolute beyond "
        "`delta`; quantile: `quantiles` are learnt",
    )
    delta: float = Field(1.0, gt=0, description="where huber turns, in the target's scale")
    quantiles: tuple[float, ...] = Field(
        (0.1, 0.5, 0.9), min_length=3, max_length=3, description="the low bound, the prediction and the high bound"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not all(0 < one < 1 for one in self.quantiles) or list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError("objective.quantiles have to rise, and lie between 0 and 1")
        return self

    @property
    def by_quantiles(self) -> bool:
        """Whether bounds are learnt too."""
        return self.error == "quantile"

    def outputs(self, targets: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """A number per number of the target, or as many as there are quantiles, under the target's name."""
        target = output_of(targets, "a target of kind value", classes=False)
        shape = (*target.shape, len(self.quantiles)) if self.by_quantiles else target.shape
        return (TensorSpec(name=target.name, shape=shape, dtype="float32"),)

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Mean of the rows' losses in the target's scale, times ROW_WEIGHT if given.

        outputs float32[batch, numbers(, quantiles)], targets float32[batch, numbers].
        """
        import torch
        from torch.nn.functional import huber_loss, l1_loss, mse_loss

        (name,) = outputs
        found, wanted = outputs[name], targets[name]
        if self.error == "quantile":
            shares = torch.tensor(self.quantiles, device=found.device)
            missed = wanted[..., None] - found
            rows = torch.maximum(shares * missed, (shares - 1) * missed)
        elif self.error == "huber":
            rows = huber_loss(found, wanted, delta=self.delta, reduction="none")
        else:
            rows = (mse_loss if self.error == "squared" else l1_loss)(found, wanted, reduction="none")
        return (rows.flatten(1).mean(1) * targets.get(ROW_WEIGHT, 1)).mean()

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """The absolute error in the target's scale, summed over rows."""
        (name,) = outputs
        found = outputs[name][..., 1] if self.by_quantiles else outputs[name]
        errors = (found - targets[name]).abs().flatten(1).mean(1)
        return {"absolute_error": (errors * targets.get(ROW_WEIGHT, 1)).sum()}

    def decode(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], target: Target) -> Answers:
        """`values`, and by quantiles `low` and `high`: float64[rows, numbers] in the target's own units."""
        (found,) = outputs.values()
        numbers = np.asarray(found.cpu().numpy(), np.float64)
        if not self.by_quantiles:
            return {"values": target.feature.restored(numbers, target.state)}
        # What is learnt apart may cross.
        ordered = np.sort(numbers, axis=-1)
        names = ("low", "values", "high")
        return {name: target.feature.restored(ordered[..., at], target.state) for at, name in enumerate(names)}

    def columns(self, target: Target) -> dict[str, pa.DataType]:
        """`prediction`, a number or a list of them; by quantiles `low` and `high` too."""
        kind = pa.float64() if _single(target) else pa.list_(pa.float64())
        names = ("prediction", "low", "high") if self.by_quantiles else ("prediction",)
        return dict.fromkeys(names, kind)

    def table(self, answers: Answers, target: Target) -> pa.Table:
        """The numbers in the target's own units."""
        kinds = self.columns(target)
        cells = {name: answers["values" if name == "prediction" else name] for name in kinds}
        single = _single(target)
        return pa.table({
            name: pa.array(numbers[:, 0] if single else list(numbers), kinds[name]) for name, numbers in cells.items()
        })

    def row_metrics(self, answers: Answers, truth: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Mean absolute and squared error; by quantiles the share of rows between the bounds."""
        missed = answers["values"] - truth
        found = {"mae": np.abs(missed).mean(1), "mse": (missed**2).mean(1)}
        if self.by_quantiles:
            inside = (answers["low"] <= truth) & (truth <= answers["high"])
            found["coverage"] = inside.mean(1)
        return found

    def facts(self, answers: Answers, truth: NDArray[np.float64]) -> Facts:
        """What is true, and what was predicted."""
        return {"truth": truth, "values": answers["values"]}

    def pooled(self, facts: Facts) -> Pooled:
        """R², the mean over several numbers' own, and the root of the mean squared error."""
        truth, errors = facts["truth"], (facts["values"] - facts["truth"]) ** 2

        def measured(weights: NDArray[np.float64]) -> dict[str, float]:
            rows = weights.sum()
            mean = weights @ truth / rows
            spread, missed = weights @ (truth - mean) ** 2, weights @ errors
            # Of a constant target nothing can be explained.
            explained = np.where(spread > 0, 1 - missed / np.where(spread > 0, spread, 1), 0.0)
            return {"r2": float(explained.mean()), "rmse": float(np.sqrt(missed.mean() / rows))}

        return measured

    def constant(self, target: Target, facts: Facts) -> Answers:
        """The mean of the training rows."""
        mean = np.tile(np.array(target.state["mean"], np.float64), (len(facts["truth"]), 1))
        return {"values": mean, **({"low": mean, "high": mean} if self.by_quantiles else {})}

    def badness(self, answers: Answers, truth: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean absolute error."""
        missed: NDArray[np.float64] = np.abs(answers["values"] - truth).mean(1)
        return missed

    def told(self, answers: Answers, truth: NDArray[np.float64], row: int, target: Target) -> Told:
        """The two numbers and how far they lie apart."""
        found, wanted = answers["values"][row], truth[row]
        off = float(np.abs(found - wanted).mean())
        return Told(truth=_said(wanted), predicted=_said(found), note=f"{off:.4g} off")

    def figures(self, facts: Facts, target: Target) -> list[Figure]:
        """What was predicted beside what is true, and how the errors are spread."""
        chosen = np.unique(np.linspace(0, len(facts["truth"]) - 1, SHOWN).astype(int))
        truth, values = facts["truth"].ravel(), facts["values"].ravel()
        pairs = facts["truth"][chosen].ravel(), facts["values"][chosen].ravel()
        heights, edges = np.histogram(values - truth, 40)
        return [
            {"kind": "scatter", "title": "Predicted and true", "x": pairs[0].tolist(), "y": pairs[1].tolist()},
            {
                "kind": "histogram",
                "title": "Errors",
                "of": "predicted − true",
                "heights": heights.tolist(),
                "edges": edges.tolist(),
            },
        ]


def _single(target: Target) -> bool:
    """Whether one number is predicted, and no list."""
    return len(target.feature.columns) == 1 and not target.feature.steps


def _said(numbers: NDArray[np.float64]) -> str:
    return ", ".join(f"{one:.4g}" for one in numbers[:8]) + ("…" if len(numbers) > 8 else "")

"""Multi-label classification: any number of classes per row, each a yes or no of its own."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ROW_WEIGHT, TensorSpec
from components.objectives.objective import FLOOR, Answers, Facts, Figure, Pooled, Target, Told, output_of
from components.objectives.ranking import area


class MultiLabel(StepConfig):
    """The classes of each row."""

    targets: ClassVar[tuple[str, ...]] = ("labels",)
    monitored: ClassVar[Mapping[str, bool]] = {"label_accuracy": True}
    metrics: ClassVar[tuple[str, ...]] = ("subset_accuracy", "label_accuracy", "log_loss", "f1", "f1_micro", "auroc")
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"log_loss"})
    baseline_name: ClassVar[str] = "share of each class"

    kind: Literal["multi-label"] = "multi-label"
    threshold: float = Field(0.5, gt=0, lt=1, description="from which probability on a class is named")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="how far yes and no are drawn towards a half")
    focus: float = Field(
        0.0, ge=0, description="focal loss (Lin 2017): how much less a class counts that is predicted well; 0: not"
    )

    def outputs(self, targets: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """One logit per class, under the target's name."""
        return (output_of(targets, "a target of kind labels", classes=False),)

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Mean over the rows of the classes' mean binary cross-entropy in nats, times ROW_WEIGHT if given.

        outputs and targets float32[batch, classes].
        """
        from torch.nn.functional import binary_cross_entropy_with_logits

        (name,) = outputs
        logits, there = outputs[name], targets[name]
        wanted = there * (1 - self.label_smoothing) + self.label_smoothing / 2
        cells = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if self.focus:
            right = (there - logits.sigmoid()).abs()
            cells = cells * right**self.focus
        return (cells.mean(1) * targets.get(ROW_WEIGHT, 1)).mean()

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """The share of the classes that are right, summed over the batch, times ROW_WEIGHT if given."""
        (name,) = outputs
        right = (outputs[name].sigmoid() >= self.threshold) == (targets[name] > 0)
        return {"label_accuracy": (right.float().mean(1) * targets.get(ROW_WEIGHT, 1)).sum()}

    def decode(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], target: Target) -> Answers:
        """`probabilities` of the classes, float32[rows, classes]; they do not add up to 1."""
        (logits,) = outputs.values()
        return {"probabilities": np.asarray(logits.sigmoid().cpu().numpy(), np.float32)}

    def columns(self, target: Target) -> dict[str, pa.DataType]:
        """`prediction`, the classes, and `probabilities` of all."""
        return {"prediction": pa.list_(pa.string()), "probabilities": pa.list_(pa.float64())}

    def table(self, answers: Answers, target: Target) -> pa.Table:
        """The classes from the threshold on, and the probabilities of all classes."""
        types, names = self.columns(target), np.array(target.classes, object)
        probabilities = answers["probabilities"]
        named = [names[row].tolist() for row in probabilities >= self.threshold]
        return pa.table({
            "prediction": pa.array(named, types["prediction"]),
            "probabilities": pa.array(list(probabilities.astype(np.float64)), types["probabilities"]),
        })

    def row_metrics(self, answers: Answers, truth: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Whether all classes of a row are right, the share of them that is, and their mean log loss."""
        probabilities = answers["probabilities"].astype(np.float64)
        right = (probabilities >= self.threshold) == (truth > 0)
        chosen = np.where(truth > 0, probabilities, 1 - probabilities)
        return {
            "subset_accuracy": right.all(axis=1).astype(np.float64),
            "label_accuracy": right.mean(axis=1),
            "log_loss": -np.log(np.clip(chosen, FLOOR, 1.0)).mean(axis=1),
        }

    def facts(self, answers: Answers, truth: NDArray[np.int64]) -> Facts:
        """Which classes are true, which are named, and how likely each is."""
        probabilities = answers["probabilities"]
        return {"truth": truth > 0, "predicted": probabilities >= self.threshold, "score": probabilities}

    def pooled(self, facts: Facts) -> Pooled:
        """F1 over all cells and as the mean of the classes', and the mean of their areas under the ROC curve."""
        truth, predicted, score = facts["truth"], facts["predicted"], facts["score"]
        under = [area(score[:, at], truth[:, at]) for at in range(truth.shape[1])]

        def measured(weights: NDArray[np.float64]) -> dict[str, float]:
            right, seen, named = (weights @ cells for cells in (truth & predicted, truth, predicted))
            total, rows = seen + named, weights.sum()
            # Of a class that all rows have, or none, nothing is to be told apart.
            told = [one(weights) for one, there in zip(under, seen, strict=True) if 0 < there < rows]
            return {
                "f1": float((2 * right[total > 0] / total[total > 0]).mean()) if total.any() else 0.0,
                "f1_micro": float(2 * right.sum() / total.sum()) if total.any() else 0.0,
                "auroc": float(np.mean(told)) if told else 0.5,
            }

        return measured

    def constant(self, target: Target, facts: Facts) -> Answers:
        """Each class with its share of the training rows."""
        shares = np.array(target.state["shares"], np.float32)
        return {"probabilities": np.tile(shares, (len(facts["truth"]), 1))}

    def badness(self, answers: Answers, truth: NDArray[np.int64]) -> NDArray[np.float64]:
        """How sure the model was of what is wrong of a row; negative where nothing is."""
        probabilities = answers["probabilities"]
        wrong = (probabilities >= self.threshold) != (truth > 0)
        return np.asarray(np.where(wrong, np.abs(truth - probabilities), -1).max(axis=1), np.float64)

    def told(self, answers: Answers, truth: NDArray[np.int64], row: int, target: Target) -> Told:
        """The classes, and how sure it was where it is farthest off."""
        probabilities, names = answers["probabilities"][row], np.array(target.classes, object)
        at = int(np.abs(truth[row] - probabilities).argmax())
        return Told(
            truth=", ".join(names[truth[row] > 0]) or "none",
            predicted=", ".join(names[probabilities >= self.threshold]) or "none",
            note=f"{names[at]}: {100 * probabilities[at]:.1f} %",
        )

    def figures(self, facts: Facts, target: Target) -> list[Figure]:
        """Of each class, how often it is there and found."""
        truth, predicted = facts["truth"], facts["predicted"]
        rows = []
        for at, name in enumerate(target.classes):
            there, named = int(truth[:, at].sum()), int(predicted[:, at].sum())
            right = int((truth[:, at] & predicted[:, at]).sum())
            shares = [f"{right / one:.3f}" if one else "–" for one in (named, there)]
            rows.append([name, there, named, *shares])
        head = ["class", "rows", "named", "precision", "recall"]
        return [{"kind": "table", "title": "Classes", "head": head, "rows": rows}]

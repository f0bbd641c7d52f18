"""Single-label classification: cross-entropy over the classes of a label target."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ROW_WEIGHT, TensorSpec
from components.objectives.calibration import calibration_error, reliability, threshold_figures
from components.objectives.decision import DECIDED, decided
from components.objectives.objective import FLOOR, Answers, Facts, Figure, Pooled, Target, Told, output_of
from components.objectives.ranking import area


class Classification(StepConfig):
    """One of several classes per row."""

    targets: ClassVar[tuple[str, ...]] = ("label",)
    monitored: ClassVar[Mapping[str, bool]] = {"accuracy": True}
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "log_loss", "f1", "ece", "auroc")
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"log_loss", "ece"})
    baseline_name: ClassVar[str] = "most frequent class"

    kind: Literal["classification"] = "classification"
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    focus: float = Field(
        0.0,
        ge=0,
        description="focal loss (Lin 2017): how much less a row counts that is predicted well; 0: not",
    )

    def outputs(self, targets: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """One logit per class, under the target's name."""
        target = output_of(targets, "a target of kind label", classes=True)
        return (TensorSpec(name=target.name, shape=(target.classes[0],), dtype="float32"),)

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Mean of the rows' cross-entropy in nats, times ROW_WEIGHT if given.

        outputs float32[batch, classes], targets int64[batch].
        """
        from torch.nn.functional import cross_entropy

        (name,) = outputs
        if ROW_WEIGHT not in targets and not self.focus:
            return cross_entropy(outputs[name], targets[name], label_smoothing=self.label_smoothing)
        rows = cross_entropy(outputs[name], targets[name], label_smoothing=self.label_smoothing, reduction="none")
        if self.focus:
            sure = outputs[name].softmax(1).gather(1, targets[name][:, None])[:, 0]
            rows = rows * (1 - sure) ** self.focus
        return (rows * targets.get(ROW_WEIGHT, 1)).mean()

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """Sums over the batch, times ROW_WEIGHT if given; divided by the rows they are an epoch's metrics."""
        (name,) = outputs
        right = outputs[name].argmax(1) == targets[name]
        return {"accuracy": (right * targets.get(ROW_WEIGHT, 1)).sum()}

    def decode(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], target: Target) -> Answers:
        """`probabilities` of the classes, float32[rows, classes]."""
        (logits,) = outputs.values()
        return {"probabilities": np.asarray(logits.softmax(1).cpu().numpy(), np.float32)}

    def columns(self, target: Target) -> dict[str, pa.DataType]:
        """`prediction` (a class, a whole number where the target's type is), `confidence`, `probabilities`."""
        name = pa.int64() if target.whole else pa.string()
        return {"prediction": name, "confidence": pa.float64(), "probabilities": pa.list_(pa.float64())}

    def table(self, answers: Answers, target: Target) -> pa.Table:
        """The class that is said, its probability, and those of all classes."""
        probabilities, chosen, types = answers["probabilities"], decided(answers), self.columns(target)
        names = pa.array(list(map(int, target.classes)) if target.whole else target.classes, types["prediction"])
        rows, classes = probabilities.shape
        ends = pa.array(np.arange(rows + 1, dtype=np.int32) * classes)
        return pa.table({
            "prediction": names.take(pa.array(chosen)),
            "confidence": pa.array(probabilities[np.arange(rows), chosen].astype(np.float64)),
            "probabilities": pa.ListArray.from_arrays(ends, pa.array(probabilities.astype(np.float64).ravel())),
        })

    def row_metrics(self, answers: Answers, truth: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Accuracy and log loss."""
        chosen = answers["probabilities"][np.arange(len(truth)), truth].astype(np.float64)
        return {
            "accuracy": (decided(answers) == truth).astype(np.float64),
            "log_loss": -np.log(np.clip(chosen, FLOOR, 1.0)),
        }

    def facts(self, answers: Answers, truth: NDArray[np.int64]) -> Facts:
        """The true and the predicted class and its probability; of two classes also the probability of the second.

        Where a threshold decided, the likeliest class too.
        """
        probabilities, said = answers["probabilities"], decided(answers)
        kept = {
            "truth": truth.astype(np.int32),
            "predicted": said.astype(np.int32),
            "confidence": probabilities[np.arange(len(said)), said],
        }
        if DECIDED in answers:
            kept["likeliest"] = probabilities.argmax(1).astype(np.int32)
        return kept | ({"score": probabilities[:, 1]} if probabilities.shape[1] == 2 else {})

    def pooled(self, facts: Facts) -> Pooled:
        """The mean of the classes' F1, the calibration error, and of two classes the area under the ROC curve."""
        truth, predicted = facts["truth"], facts["predicted"]
        classes = int(max(truth.max(initial=0), predicted.max(initial=0))) + 1
        under = area(facts["score"], truth == 1) if "score" in facts else None
        error = calibration_error(facts["confidence"], truth == predicted)

        def measured(weights: NDArray[np.float64]) -> dict[str, float]:
            right = np.bincount(truth, weights * (truth == predicted), classes)
            seen, named = np.bincount(truth, weights, classes), np.bincount(predicted, weights, classes)
            there = seen + named > 0
            found = {"f1": float((2 * right[there] / (seen + named)[there]).mean()), "ece": error(weights)}
            return found | ({"auroc": under(weights)} if under else {})

        return measured

    def constant(self, target: Target, facts: Facts) -> Answers:
        """Each class with its frequency among the training rows."""
        counts = np.array(target.state["counts"], np.float64)
        return {"probabilities": np.tile(counts / counts.sum(), (len(facts["truth"]), 1)).astype(np.float32)}

    def badness(self, answers: Answers, truth: NDArray[np.int64]) -> NDArray[np.float64]:
        """How sure the model was of a wrong class."""
        said = decided(answers)
        sure = answers["probabilities"][np.arange(len(said)), said]
        return np.where(said != truth, sure, -1).astype(np.float64)

    def told(self, answers: Answers, truth: NDArray[np.int64], row: int, target: Target) -> Told:
        """The two classes, and how sure it was."""
        said = int(decided(answers)[row])
        return Told(
            truth=target.classes[truth[row]],
            predicted=target.classes[said],
            note=f"{100 * answers['probabilities'][row, said]:.1f} % sure",
        )

    def figures(self, facts: Facts, target: Target) -> list[Figure]:
        """The confusion matrix, how far confidence can be trusted, and of two classes what each threshold gives."""
        counts = np.zeros((len(target.classes),) * 2, np.int64)
        np.add.at(counts, (facts["truth"], facts["predicted"]), 1)
        drawn = [
            {"kind": "confusion", "classes": target.classes, "counts": counts.tolist()},
            reliability(facts["confidence"], facts["truth"] == facts["predicted"]),
        ]
        positive = facts["truth"] == 1
        if "score" in facts and 0 < positive.sum() < len(positive):
            drawn += threshold_figures(facts["score"], positive, target.classes[1])
        return drawn

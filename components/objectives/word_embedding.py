"""Word embedding: vectors of words. A label, where there is one, judges what the mean vector of a text says of it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ROW_LOSS, ROW_LOSS_OF_ZEROS, ROW_WEIGHT, VECTORS, TensorSpec
from components.objectives.objective import Answers, Facts, Figure, OfVectors, Pooled, Target, Told

SHOWN, NEAREST, LETTERS = 20, 6, 4
"""Words of the report, how many neighbours of each, and how long a word is that says something."""
FOLDS = 5


class WordEmbedding(OfVectors, StepConfig):
    """Learn a vector for every word of one text feature."""

    relative: ClassVar[bool] = True
    targets: ClassVar[tuple[str, ...]] = ("none", "label")
    models: ClassVar[tuple[str, ...]] = ("word2vec", "glove")
    monitored: ClassVar[Mapping[str, bool]] = {}
    metrics: ClassVar[tuple[str, ...]] = ("loss", "label_accuracy")
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss"})
    baseline_name: ClassVar[str] = "vectors of zeros"

    kind: Literal["word-embedding"] = "word-embedding"
    width: int = Field(100, ge=2, description="numbers of a vector")

    def outputs(self, targets: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """The mean vector of a text."""
        return (TensorSpec(name=VECTORS, shape=(self.width,), dtype="float32"),)

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Mean of what the model says of its rows, times ROW_WEIGHT if given."""
        return (outputs[ROW_LOSS] * targets.get(ROW_WEIGHT, 1)).mean()

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """The loss says it."""
        return {}

    def decode(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], target: Target) -> Answers:
        """`vectors` float32[rows, width], the `loss` of each row and that of `zeros`, float64[rows]."""
        return {
            "vectors": outputs[VECTORS].cpu().numpy(),
            "loss": outputs[ROW_LOSS].cpu().numpy().astype(np.float64),
            "zeros": outputs[ROW_LOSS_OF_ZEROS].cpu().numpy().astype(np.float64),
        }

    def row_metrics(self, answers: Answers, truth: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """The loss."""
        return {"loss": answers["loss"]}

    def facts(self, answers: Answers, truth: NDArray[np.int64]) -> Facts:
        """The label and the vectors."""
        return {"truth": truth, "vectors": answers["vectors"], "zeros": answers["zeros"]}

    def pooled(self, facts: Facts) -> Pooled:
        """Where there are labels: how often logistic regression on mean vectors finds them, over folds of the rows."""
        truth, vectors = facts["truth"], facts["vectors"]
        if len(np.unique(truth)) < 2 or min(np.bincount(truth)[np.unique(truth)]) < FOLDS:
            return lambda _: {}
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        found = cross_val_predict(make_pipeline(StandardScaler(), LogisticRegression()), vectors, truth, cv=FOLDS)
        right = (found == truth).astype(np.float64)
        return lambda weights: {"label_accuracy": float(weights @ right / weights.sum())}

    def constant(self, target: Target, facts: Facts) -> Answers:
        """Zeros."""
        return {"vectors": np.zeros_like(facts["vectors"]), "loss": facts["zeros"], "zeros": facts["zeros"]}

    def badness(self, answers: Answers, truth: NDArray[np.int64]) -> NDArray[np.float64]:
        """The loss."""
        return np.asarray(answers["loss"])

    def told(self, answers: Answers, truth: NDArray[np.int64], row: int, target: Target) -> Told:
        """How little the row's words told of each other."""
        label = target.classes[truth[row]] if target.classes else "not labelled"
        return Told(truth=label, predicted="a vector", note=f"loss {answers['loss'][row]:.4g}")

    def figures(self, facts: Facts, target: Target) -> list[Figure]:
        """None of rows."""
        return []

    def portraits(self, network: Any, fitted: Sequence[tuple[Any, Mapping[str, Any]]]) -> list[Figure]:
        """The words that are nearest to some frequent ones, by the cosine of their vectors."""
        ((_, state),) = fitted
        words = sorted(state["tokenizer"]["vocab"].items(), key=lambda one: one[1])
        names = [word for word, _ in words]
        vectors = network.table.weight.detach().cpu().numpy()
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.maximum(lengths, 1e-12)
        chosen = [at for at, word in enumerate(names) if len(word) >= LETTERS and word.isalpha()][:SHOWN]
        rows = []
        for at in chosen:
            near = np.argsort(-(unit @ unit[at]), kind="stable")[: NEAREST + 1]
            rows.append([names[at], ", ".join(names[one] for one in near if one != at)])
        return [{"kind": "table", "title": "Nearest words", "head": ["word", "nearest"], "rows": rows}]

"""Metric learning: vectors that lie near each other for rows of one class, also of classes that are seen later."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ROW_WEIGHT, TensorSpec
from components.objectives.objective import Answers, Facts, Figure, OfVectors, Pooled, Target, Told, output_of

AT_ONCE, AMONG = 1024, 4096
"""Rows whose neighbours are looked for at a time, and among how many rows of the test part at most."""
FAR = -2.0
"""Less than any cosine."""
HARD = 64
"""Triplets look at so many rows of other classes; with all of them memory would grow with the batch's cube."""


class MetricLearning(OfVectors, StepConfig):
    """A vector of length 1 for each row, learnt from which rows share a label."""

    mixed: ClassVar[bool] = True
    targets: ClassVar[tuple[str, ...]] = ("label",)
    monitored: ClassVar[Mapping[str, bool]] = {}
    metrics: ClassVar[tuple[str, ...]] = ("recall_at_1",)
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    baseline_name: ClassVar[str] = "vectors at random"

    kind: Literal["metric-learning"] = "metric-learning"
    way: Literal["contrastive", "triplet"] = Field(
        "contrastive",
        description="contrastive: each row finds those of its class among the batch (Khosla 2020); triplet: "
        "rows of its class come nearer than those of others (Schroff 2015)",
    )
    width: int = Field(32, ge=2, description="numbers of a vector")
    heat: float = Field(0.1, gt=0, description="contrastive: what cosines are divided by; lower looks at near rows")
    margin: float = Field(0.2, gt=0, description="triplet: by how much nearer")

    def outputs(self, targets: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """The vector, not yet of length 1."""
        target = output_of(targets, "a target of kind label", classes=True)
        return (TensorSpec(name=target.name, shape=(self.width,), dtype="float32"),)

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Mean over the rows that have another of their class beside them, times ROW_WEIGHT if given.

        outputs float32[batch, width], targets int64[batch]. Rows that weigh nothing are nobody's neighbours.
        """
        import torch
        from torch.nn.functional import normalize

        (name,) = outputs
        vectors, labels = normalize(outputs[name], dim=1), targets[name]
        weights = targets.get(ROW_WEIGHT, torch.ones(len(labels), device=labels.device))
        others = (weights > 0) & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        same = labels[:, None] == labels
        near, cosines = same & others, vectors @ vectors.T
        rows = (
            self._triplets(cosines, near, others & ~same)
            if self.way == "triplet"
            else self._among(cosines, near, others)
        )
        told = near.any(1) & (weights > 0)
        return (rows * weights * told).sum() / told.sum().clamp(min=1)

    def _among(self, cosines: Any, near: Any, others: Any) -> Any:
        """float32[batch]: nats by which rows of the own class are missed among all others."""
        scores = (cosines / self.heat).masked_fill(~others, float("-inf"))
        missed = (scores.logsumexp(1, keepdim=True) - cosines / self.heat).masked_fill(~near, 0.0)
        return missed.sum(1) / near.sum(1).clamp(min=1)

    def _triplets(self, cosines: Any, near: Any, other: Any) -> Any:
        """float32[batch]: what is lacking on average in the triplets of a row that lack anything.

        Every row of the own class is set against those of others that lie nearest.
        """
        hard = cosines.masked_fill(~other, FAR).topk(min(HARD, len(cosines)), 1).values
        lacking = (self.margin + hard[:, None] - cosines[..., None]).relu() * near[..., None]
        return lacking.sum((1, 2)) / (lacking > 0).sum((1, 2)).clamp(min=1)

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """The loss says it."""
        return {}

    def decode(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], target: Target) -> Answers:
        """`vectors` float32[rows, width] of length 1."""
        from torch.nn.functional import normalize

        (vectors,) = outputs.values()
        return {"vectors": normalize(vectors, dim=1).cpu().numpy()}

    def row_metrics(self, answers: Answers, truth: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """None: a row is judged among all others."""
        return {}

    def facts(self, answers: Answers, truth: NDArray[np.int64]) -> Facts:
        """The class and the vector."""
        return {"truth": truth, "vectors": answers["vectors"]}

    def pooled(self, facts: Facts) -> Pooled:
        """How often the nearest other row is of the same class (recall at 1).

        It is looked for among all rows, of more than 4,096 among so many that lie evenly between them.
        """
        hits = _neighbours(facts) == facts["truth"]
        return lambda weights: {"recall_at_1": float(weights @ hits / weights.sum())}

    def constant(self, target: Target, facts: Facts) -> Answers:
        """Vectors that are drawn."""
        drawn = np.random.Generator(np.random.PCG64(0)).normal(size=facts["vectors"].shape)
        return {"vectors": (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)}

    def badness(self, answers: Answers, truth: NDArray[np.int64]) -> NDArray[np.float64]:
        """How near the nearest of the other rows at hand is where it is of another class (cosine + 1), else below 0."""
        nearest, cosines = _nearest(answers["vectors"], np.arange(len(truth)))
        return np.where(truth[nearest] != truth, cosines + 1, -1).astype(np.float64)

    def told(self, answers: Answers, truth: NDArray[np.int64], row: int, target: Target) -> Told:
        """The class of the row and that of its neighbour."""
        cosines = answers["vectors"] @ answers["vectors"][row]
        cosines[row] = FAR
        near = int(cosines.argmax())
        return Told(
            truth=target.classes[truth[row]],
            predicted=f"next to {target.classes[truth[near]]}",
            note=f"cosine {cosines[near]:.3f}",
        )

    def figures(self, facts: Facts, target: Target) -> list[Figure]:
        """Which classes lie next to which."""
        counts = np.zeros((len(target.classes),) * 2, np.int64)
        np.add.at(counts, (facts["truth"], _neighbours(facts)), 1)
        return [
            {
                "kind": "confusion",
                "classes": target.classes,
                "counts": counts.tolist(),
                "columns": "that of the nearest",
            }
        ]


def _neighbours(facts: Facts) -> NDArray[np.int64]:
    """The class of the row that is nearest to each."""
    rows = len(facts["truth"])
    among = np.unique(np.linspace(0, rows - 1, min(rows, AMONG)).astype(np.int64))
    nearest, _ = _nearest(facts["vectors"], among)
    found: NDArray[np.int64] = facts["truth"][nearest]
    return found


def _nearest(vectors: NDArray[np.float32], among: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of each row the position of the nearest other one `among` some, and their cosine."""
    places, cosines = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for start in range(0, len(vectors), AT_ONCE):
        found = vectors[start : start + AT_ONCE] @ vectors[among].T
        own = np.flatnonzero((among >= start) & (among < start + AT_ONCE))
        found[among[own] - start, own] = FAR
        best = found.argmax(axis=1)
        places.append(among[best])
        cosines.append(found[np.arange(len(found)), best])
    return np.concatenate(places), np.concatenate(cosines)

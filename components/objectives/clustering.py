"""Clustering: rows that lie near each other belong together. A label, where there is one, only judges."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ROW_WEIGHT, TensorSpec
from components.objectives.objective import Answers, Facts, Figure, Pooled, Target, Told
from components.objectives.ranking import shared_information

TO_MEAN = "to mean"
"""Beside the distances: each row's squared distance to the mean of all rows, float32[batch]."""


class Clustering(StepConfig):
    """Each row in one of several clusters."""

    relative: ClassVar[bool] = True
    targets: ClassVar[tuple[str, ...]] = ("none", "label")
    models: ClassVar[tuple[str, ...]] = ("k-means",)
    monitored: ClassVar[Mapping[str, bool]] = {}
    metrics: ClassVar[tuple[str, ...]] = ("inertia", "nmi")
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"inertia"})
    baseline_name: ClassVar[str] = "one cluster"

    kind: Literal["clustering"] = "clustering"
    clusters: int = Field(8, ge=2, description="how many")

    def outputs(self, targets: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """A squared distance to each cluster."""
        return (TensorSpec(name="clusters", shape=(self.clusters,), dtype="float32"),)

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Mean squared distance to the nearest cluster, times ROW_WEIGHT if given."""
        return (outputs["clusters"].min(1).values * targets.get(ROW_WEIGHT, 1)).mean()

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """The loss says it."""
        return {}

    def decode(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], target: Target) -> Answers:
        """`cluster` int64[rows], the squared `distance` to it and that `to mean`, float64[rows]."""
        distances = outputs["clusters"].cpu().numpy().astype(np.float64)
        to_mean = outputs[TO_MEAN].cpu().numpy().astype(np.float64)
        return {"cluster": distances.argmin(1), "distance": distances.min(1), TO_MEAN: to_mean}

    def columns(self, target: Target) -> dict[str, pa.DataType]:
        """`prediction`, the cluster's number, and `distance`."""
        return {"prediction": pa.int64(), "distance": pa.float64()}

    def table(self, answers: Answers, target: Target) -> pa.Table:
        """The nearest cluster, and how far it is (not squared)."""
        return pa.table({
            "prediction": pa.array(answers["cluster"].astype(np.int64)),
            "distance": pa.array(np.sqrt(answers["distance"])),
        })

    def row_metrics(self, answers: Answers, truth: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """The mean squared distance."""
        return {"inertia": answers["distance"]}

    def facts(self, answers: Answers, truth: NDArray[np.int64]) -> Facts:
        """The cluster and the label."""
        return {"cluster": answers["cluster"].astype(np.int32), "truth": truth, TO_MEAN: answers[TO_MEAN]}

    def pooled(self, facts: Facts) -> Pooled:
        """How much cluster and label say of each other (normalised mutual information), where there are labels."""
        cluster, truth = facts["cluster"], facts["truth"]
        if not truth.any():
            return lambda _: {}
        return lambda weights: {"nmi": shared_information(cluster, truth, weights)}

    def constant(self, target: Target, facts: Facts) -> Answers:
        """All rows in one cluster, around the mean of all."""
        cluster = np.zeros(len(facts["truth"]), np.int64)
        return {"cluster": cluster, "distance": facts[TO_MEAN], TO_MEAN: facts[TO_MEAN]}

    def badness(self, answers: Answers, truth: NDArray[np.int64]) -> NDArray[np.float64]:
        """The distance."""
        return np.asarray(answers["distance"])

    def told(self, answers: Answers, truth: NDArray[np.int64], row: int, target: Target) -> Told:
        """The cluster, and how far away it is."""
        label = target.classes[truth[row]] if target.classes else "not labelled"
        distance = f"{np.sqrt(answers['distance'][row]):.4g} away"
        return Told(truth=label, predicted=f"cluster {answers['cluster'][row]}", note=distance)

    def figures(self, facts: Facts, target: Target) -> list[Figure]:
        """How many rows each cluster has, of each label."""
        names = target.classes or ["rows"]
        counts = np.zeros((self.clusters, len(names)), np.int64)
        np.add.at(counts, (facts["cluster"], facts["truth"] * bool(target.classes)), 1)
        rows = [[f"cluster {at}", *row] for at, row in enumerate(counts.tolist())]
        return [{"kind": "table", "title": "Clusters", "head": ["", *names], "rows": rows}]

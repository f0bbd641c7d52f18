"""What is kept of test rows: per row a few numbers, and the worst answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.contracts.findings import Interval
from components.contracts.spec import FILE, OWN_COLUMNS, ROW
from components.objectives.calibration import confidence_bins
from components.reports.evaluation import Mistake
from components.statistics.bootstrap import REPLICATES, Measured, intervals, means

SLICE_REPLICATES = 200
PROBABILITIES = frozenset({"confidence", "score"})
"""The facts of classes that are no whole numbers."""


class Tally:
    """What is kept of each chunk of test rows."""

    def __init__(self, predictor: Any, worst: int) -> None:
        self.objective, self.target, self.worst = predictor.objective, predictor.target, worst
        self.metrics: dict[str, list[NDArray[Any]]] = {}
        self.facts: dict[str, list[NDArray[Any]]] = {}
        self.truth: list[NDArray[Any]] = []
        self.mistakes: list[tuple[float, Mistake]] = []

    def add(self, rows: pa.Table, truth: NDArray[Any], answers: Any) -> None:
        """Count one chunk."""
        for kept, found in (
            (self.metrics, self.objective.row_metrics(answers, truth)),
            (self.facts, self.objective.facts(answers, truth)),
        ):
            for name, values in found.items():
                kept.setdefault(name, []).append(values)
        self.truth.append(truth)
        if not self.worst:
            return
        badness = self.objective.badness(answers, truth)
        for row in np.argsort(-badness, kind="stable")[: self.worst]:
            if badness[row] >= 0:
                told = self.objective.told(answers, truth, int(row), self.target)
                self.mistakes.append((float(badness[row]), _mistake(rows, int(row), told)))
        self.mistakes = sorted(self.mistakes, key=lambda one: -one[0])[: self.worst]

    def whole(self) -> "Whole":
        """The chunks as one."""
        metrics, facts = (
            {name: np.concatenate(values) for name, values in kept.items()} for kept in (self.metrics, self.facts)
        )
        return Whole(metrics, facts, self.objective.pooled)


@dataclass(frozen=True)
class Whole:
    """Of all rows: metrics that are means, per row, and what the other metrics are made of."""

    metrics: dict[str, NDArray[np.float64]]
    facts: dict[str, NDArray[Any]]
    pooled: Any

    @property
    def rows(self) -> int:
        """How many."""
        return len(next(iter((self.metrics | self.facts).values())))

    def where(self, rows: NDArray[np.bool_]) -> "Whole":
        """Only these rows."""
        metrics, facts = ({name: one[rows] for name, one in kept.items()} for kept in (self.metrics, self.facts))
        return Whole(metrics, facts, self.pooled)

    def figures(self, replicates: int = REPLICATES) -> dict[str, Interval]:
        """Every metric with its interval; `replicates` of the means'."""
        of_rows = _means(self.metrics, replicates)
        return of_rows | intervals(self.measured, self.rows, self.kinds())

    def values(self) -> dict[str, float]:
        """Every metric."""
        means = {name: float(values.mean()) for name, values in self.metrics.items()}
        pooled: dict[str, float] = self.pooled(self.facts)(np.ones(self.rows))
        return means | pooled

    def beyond(self, other: "Whole", replicates: int = REPLICATES) -> dict[str, Interval]:
        """How much more each metric is than that of `other`, on the same rows: a paired bootstrap."""
        both = [name for name in self.metrics if name in other.metrics]
        of_rows = _means({name: self.metrics[name] - other.metrics[name] for name in both}, replicates)

        def of(rows: NDArray[np.int64]) -> Measured:
            ours, theirs = self.measured(rows), other.measured(rows)

            def gain(weights: NDArray[np.float64]) -> dict[str, float]:
                known = theirs(weights)
                return {name: value - known[name] for name, value in ours(weights).items() if name in known}

            return gain

        kinds = [one.kinds() for one in (self, other)]
        return of_rows | intervals(of, self.rows, None if None in kinds else [*(kinds[0] or ()), *(kinds[1] or ())])

    def kinds(self) -> list[NDArray[Any]] | None:
        """Whole numbers that say which rows are alike to the metrics that are no means.

        None where these hang on more than classes and probabilities: one row of many may decide the error of a number.
        """
        found = []
        for name, one in self.facts.items():
            # Of several targets each has its own, as target/confidence.
            what = name.rpartition("/")[2]
            if one.dtype.kind == "f" and what not in PROBABILITIES:
                return None
            found.append(confidence_bins(one) if what == "confidence" else one)
        return found

    def measured(self, rows: NDArray[np.int64]) -> Measured:
        """How the metrics that are no means are measured on some rows."""
        found: Measured = self.pooled({name: one[rows] for name, one in self.facts.items()})
        return found


def _means(values: dict[str, NDArray[np.float64]], replicates: int) -> dict[str, Interval]:
    found = means(np.stack(list(values.values()), axis=1), replicates=replicates) if values else []
    return dict(zip(values, found, strict=True))


@dataclass(frozen=True)
class Pair:
    """The package's rows, and the champion's: `shared` of ours, in their order."""

    ours: Whole
    theirs: Whole | None
    shared: NDArray[np.bool_]

    def gain(self, rows: NDArray[np.bool_], replicates: int = REPLICATES) -> dict[str, Interval]:
        """How much more each metric is than the champion's on those of `rows` that both have."""
        both = rows & self.shared
        if self.theirs is None or not both.any():
            return {}
        return self.ours.where(both).beyond(self.theirs.where(rows[self.shared]), replicates)


def _mistake(rows: pa.Table, row: int, told: Any) -> Mistake:
    cells = {name: rows[name][row].as_py() for name in rows.column_names if name not in OWN_COLUMNS}
    image = next((cell for cell in cells.values() if isinstance(cell, bytes)), b"")
    return Mistake(
        truth=told.truth,
        predicted=told.predicted,
        note=told.note,
        place=f"{rows[FILE][row].as_py()}:{rows[ROW][row].as_py()}",
        image=image,
        cells={name: str(cell) for name, cell in cells.items() if not isinstance(cell, bytes)},
    )

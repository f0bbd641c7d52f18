"""ModelPackage, Dataset, champion → EvalReport: the package itself, on raw test rows, once.

Test rows are those that the split has always put into the test part. They are read from the validated snapshot, not
from shards, so cleaning, features and decoding are measured as they will be served.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.adapters.snapshot_rows import read_rows
from components.adapters.store import Store
from components.context import RunContext
from components.contracts.artifacts import Dataset, EvalReport, Interval, ModelPackage
from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import FILE, OWN_COLUMNS, ROW
from components.packages import open_package, own_errors
from components.predictor import FORMAT
from components.reports.evaluation import Mistake, evaluation_page
from components.statistics.bootstrap import interval, intervals
from components.statistics.keys import TEST
from components.statistics.splits import Split

CHUNK_ROWS = 4096


class EvaluateConfig(StepConfig):
    """What the report shows."""

    worst: int = Field(12, ge=0, le=100, description="how many of the worst answers the report shows")


class Tally:
    """What is kept of each chunk of test rows: per row a few numbers, and the worst answers."""

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

    def figures(self) -> dict[str, Interval]:
        """Every metric with its interval."""
        means = {name: interval(values) for name, values in self.metrics.items()}
        return means | intervals(self.pooled(self.facts), self.rows)

    def beyond(self, other: "Whole") -> dict[str, Interval]:
        """How much more each metric is than that of `other`, on the same rows."""
        both = [name for name in self.metrics if name in other.metrics]
        means = {name: interval(self.metrics[name] - other.metrics[name]) for name in both}
        ours, theirs = self.pooled(self.facts), other.pooled(other.facts)

        def gain(weights: NDArray[np.float64]) -> dict[str, float]:
            known = theirs(weights)
            return {name: value - known[name] for name, value in ours(weights).items() if name in known}

        return means | intervals(gain, self.rows)


def run(
    config: EvaluateConfig, package: ModelPackage, dataset: Dataset, champion: ModelPackage | None, *, ctx: RunContext
) -> EvalReport:
    """Evaluate `package`, and the champion on the rows that both were tested on.

    Raises:
        DataError: E_LABEL, a test row's class is unknown to the model; E_TOO_FEW_ROWS.
    """
    inputs = {"package": package.content, "dataset": dataset.content, "champion": champion.content if champion else ""}

    def build(folder: Path) -> EvalReport:
        ours = open_package(_folder(package, ctx.store))
        theirs = _opened(champion, ctx.store) if champion else None
        tally, rival, shared = Tally(ours, config.worst), Tally(theirs, 0) if theirs else None, []
        for done, chunk in enumerate(_test_rows(dataset, ctx.store), 1):
            with own_errors("correct the data, or run with --rerun package"):
                rows, keep = _accepted(ours, chunk)
                if not rows.num_rows:
                    shared.append(np.zeros(0, bool))
                    continue
                truth = _truth(ours, rows)
                tally.add(rows, truth, ours.predict(rows.drop(list(OWN_COLUMNS))).answers)
            if theirs is not None and rival is not None:
                both = (Split.model_validate(theirs.split).parts(chunk, strict=False) == TEST)[keep]
                shared.append(both)
                with own_errors("the champion cannot answer these rows: register under another name (register.name)"):
                    _add_rival(rival, ours, theirs, rows.filter(pa.array(both)))
            ctx.progress.advanced("evaluate", done, max(done, dataset.rows[TEST] // CHUNK_ROWS), "chunks")
        if not tally.truth:
            raise DataError("E_TOO_FEW_ROWS", "no test row is left", place="split.test", action="raise split.test")
        whole, beside = tally.whole(), rival.whole() if rival and rival.truth else None
        report = EvalReport(
            package=package.fingerprint,
            metrics=whole.figures(),
            champion=beside.figures() if beside else {},
            gain=whole.where(np.concatenate(shared)).beyond(beside) if beside else {},
            baseline=_baseline(ours, whole.facts, np.concatenate(tally.truth)),
            lower_is_better=tuple(sorted(ours.objective.lower_is_better)),
            rows=whole.rows,
            rival=inputs["champion"],
        )
        figures = [*ours.objective.figures(whole.facts, ours.target), *ours.portraits()]
        page = evaluation_page(report, ours.objective.baseline_name, figures, [one for _, one in tally.mistakes])
        (folder / "report.html").write_text(page, encoding="utf-8")
        (folder / "evaluation.json").write_text(json.dumps({"figures": figures}))
        return report

    return ctx.commit(EvalReport, __name__, config, inputs, build)


def _opened(champion: ModelPackage, store: Store) -> Any:
    """The champion, if it can be asked what this package is asked."""
    opened = open_package(_folder(champion, store))
    if getattr(opened, "format", 1) != FORMAT:
        raise DataError(
            "E_LABEL",
            "the champion was packaged by another release and cannot be compared",
            place="register.name",
            value=champion.fingerprint[:12],
            action="register under another name",
        )
    return opened


def _folder(package: ModelPackage, store: Store) -> Path:
    record = store.artifact("package", package.fingerprint).standing()
    return store.folder(record) / "model"


def _test_rows(dataset: Dataset, store: Store) -> Iterator[pa.Table]:
    """Raw test rows in chunks."""
    split = Split.model_validate(dataset.split)
    for part in dataset.clean.valid.parts:
        rows = read_rows(store, "validate", part.key)
        test = np.flatnonzero(split.parts(rows, strict=False) == TEST)
        for start in range(0, len(test), CHUNK_ROWS):
            yield rows.take(test[start : start + CHUNK_ROWS])


def _accepted(predictor: Any, rows: pa.Table) -> tuple[pa.Table, NDArray[np.bool_]]:
    accepted = predictor.accepts(rows.drop(list(OWN_COLUMNS)))
    return rows.filter(accepted), np.asarray(accepted)


def _truth(predictor: Any, rows: pa.Table) -> NDArray[Any]:
    truth: NDArray[Any] = predictor.truth(rows.drop(list(OWN_COLUMNS)))
    target = predictor.target
    for own, known in [(truth[name], part) for name, part in _parts(target).items()] or [(truth, target)]:
        if known.classes and (own < 0).any():
            row = int(np.flatnonzero(own < 0)[0])
            raise DataError(
                "E_LABEL",
                "the model does not know this row's class",
                place=f"{rows[FILE][row].as_py()}:{rows[ROW][row].as_py()}",
                value=rows[known.feature.columns[0]][row].as_py(),
                allowed=", ".join(known.classes),
                action="clean the labels",
            )
    return truth


def _add_rival(tally: Tally, ours: Any, theirs: Any, rows: pa.Table) -> None:
    accepted, _ = _accepted(theirs, rows)
    known = [_judged_by(one) for one in (ours, theirs)]
    if accepted.num_rows != rows.num_rows or known[0] != known[1]:
        raise DataError(
            "E_LABEL",
            "the champion cannot be compared: it predicts something else or refuses rows",
            place="register.name",
            value=", ".join(theirs.target.classes or theirs.target.feature.columns),
            allowed=", ".join(ours.target.classes or ours.target.feature.columns),
            action="register under another name",
        )
    if rows.num_rows:
        tally.add(rows, _truth(theirs, rows), theirs.predict(rows.drop(list(OWN_COLUMNS))).answers)


def _parts(target: Any) -> dict[str, Any]:
    """Several targets by name; packages of before know none."""
    return dict(getattr(target, "parts", {}))


def _judged_by(predictor: Any) -> Any:
    """What has to be the same of two packages whose metrics are compared.

    Where metrics hang on the inputs (`relative`), also how the inputs are made and how large they are.
    """
    objective, target = predictor.objective, predictor.target
    same: list[Any] = [objective.kind, target.classes, target.feature.columns]
    same += [(name, one.feature.kind, one.classes) for name, one in _parts(target).items()]
    same += [(name, one.kind) for name, one in getattr(objective, "parts", {}).items()]
    if getattr(objective, "relative", False):
        specs = [
            feature.spec(fitted.state).model_dump()
            for feature, fitted in zip(predictor.features, predictor.fitted, strict=True)
        ]
        configs = [one.config for one in predictor.fitted]
        same += [objective.model_dump(), target.feature.model_dump(), configs, specs]
    return same


def _baseline(predictor: Any, facts: Any, truth: NDArray[Any]) -> dict[str, float]:
    """The metrics of who knows the training targets and no feature."""
    objective = predictor.objective
    answers = objective.constant(predictor.target, facts)
    means = {name: float(values.mean()) for name, values in objective.row_metrics(answers, truth).items()}
    pooled: dict[str, float] = objective.pooled(objective.facts(answers, truth))(np.ones(len(truth)))
    return means | pooled


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

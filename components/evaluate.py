"""ModelPackage, Dataset, champion → EvalReport: the package itself, on raw test rows, once.

Test rows are those that the split has always put into the test part. They are read from the validated snapshot, not
from shards, so cleaning, features and decoding are measured as they will be served.
"""

import json
from collections.abc import Iterator
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
from components.reports.evaluation import Mistake, evaluation_page
from components.statistics.bootstrap import interval
from components.statistics.keys import TEST
from components.statistics.splits import Split

CHUNK_ROWS = 4096


class EvaluateConfig(StepConfig):
    """What the report shows."""

    worst: int = Field(12, ge=0, le=100, description="how many of the surest mistakes the report shows")


class Tally:
    """What is kept of each chunk of test rows: per row a few numbers, per class pair a count, the surest mistakes."""

    def __init__(self, classes: list[str], worst: int) -> None:
        self.classes, self.worst = classes, worst
        self.rows: dict[str, list[NDArray[Any]]] = {}
        self.shared: list[NDArray[np.bool_]] = []
        self.rival: dict[str, list[NDArray[Any]]] = {}
        self.truth: list[NDArray[np.int64]] = []
        self.confusion = np.zeros((len(classes), len(classes)), np.int64)
        self.mistakes: list[Mistake] = []

    def add(self, rows: pa.Table, truth: NDArray[np.int64], probabilities: NDArray[np.float32], objective: Any) -> None:
        """Count one chunk."""
        predicted = probabilities.argmax(1)
        for name, values in objective.row_metrics(probabilities, truth).items():
            self.rows.setdefault(name, []).append(values)
        self.truth.append(truth)
        np.add.at(self.confusion, (truth, predicted), 1)
        sure = np.where(predicted != truth, probabilities.max(1), -1)
        for row in np.argsort(-sure, kind="stable")[: self.worst]:
            if sure[row] >= 0:
                names = self.classes[truth[row]], self.classes[predicted[row]]
                self.mistakes.append(_mistake(rows, int(row), names, float(sure[row])))
        self.mistakes = sorted(self.mistakes, key=lambda one: -one.confidence)[: self.worst]

    def joined(self, kept: dict[str, list[NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """The chunks of each metric as one array."""
        return {name: np.concatenate(values) for name, values in kept.items()}


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
        theirs = open_package(_folder(champion, ctx.store)) if champion else None
        tally = Tally(ours.classes, config.worst)
        for done, chunk in enumerate(_test_rows(dataset, ctx.store), 1):
            with own_errors("correct the data, or run with --rerun package"):
                rows, keep = _accepted(ours, chunk)
                truth = _truth(ours, rows)
                tally.add(rows, truth, ours.predict(rows.drop(list(OWN_COLUMNS))).probabilities, ours.objective)
            if theirs is not None:
                shared = (Split.model_validate(theirs.split).parts(chunk, strict=False) == TEST)[keep]
                tally.shared.append(shared)
                with own_errors("the champion cannot answer these rows: register under another name (register.name)"):
                    _add_rival(tally, theirs, rows.filter(pa.array(shared)))
            ctx.progress.advanced("evaluate", done, max(done, dataset.rows[TEST] // CHUNK_ROWS), "chunks")
        return _report(folder, tally, package, ours).model_copy(update={"rival": inputs["champion"]})

    return ctx.commit(EvalReport, __name__, config, inputs, build)


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


def _truth(predictor: Any, rows: pa.Table) -> NDArray[np.int64]:
    truth: NDArray[np.int64] = predictor.truth(rows.drop(list(OWN_COLUMNS)))
    if (truth < 0).any():
        row = int(np.flatnonzero(truth < 0)[0])
        raise DataError(
            "E_LABEL",
            "the model does not know this row's class",
            place=f"{rows[FILE][row].as_py()}:{rows[ROW][row].as_py()}",
            value=rows[predictor.target.columns[0]][row].as_py(),
            allowed=", ".join(predictor.classes),
            action="clean the labels",
        )
    return truth


def _add_rival(tally: Tally, rival: Any, rows: pa.Table) -> None:
    accepted, _ = _accepted(rival, rows)
    if accepted.num_rows != rows.num_rows or rival.classes != tally.classes:
        raise DataError(
            "E_LABEL",
            "the champion cannot be compared: it knows other classes or refuses rows",
            place="register.name",
            value=rival.classes,
            allowed=", ".join(tally.classes),
            action="register under another name",
        )
    if rows.num_rows:
        probabilities = rival.predict(rows.drop(list(OWN_COLUMNS))).probabilities
        for name, values in rival.objective.row_metrics(probabilities, _truth(rival, rows)).items():
            tally.rival.setdefault(name, []).append(values)


def _report(folder: Path, tally: Tally, package: ModelPackage, predictor: Any) -> EvalReport:
    if not tally.truth:
        raise DataError("E_TOO_FEW_ROWS", "no test row is left", place="split.test", action="raise split.test")
    ours, truth = tally.joined(tally.rows), np.concatenate(tally.truth)
    metrics = {name: interval(values) for name, values in ours.items()}
    champion: dict[str, Interval] = {}
    gain: dict[str, Interval] = {}
    if tally.rival:
        shared = np.concatenate(tally.shared)
        theirs = tally.joined(tally.rival)
        champion = {name: interval(values) for name, values in theirs.items()}
        gain = {name: interval(ours[name][shared] - values) for name, values in theirs.items()}
    report = EvalReport(
        package=package.fingerprint,
        metrics=metrics,
        champion=champion,
        gain=gain,
        baseline=predictor.objective.baseline(predictor.target_state["counts"], truth),
        rows=len(truth),
    )
    page = evaluation_page(report, tally.classes, tally.confusion.tolist(), tally.mistakes)
    (folder / "report.html").write_text(page, encoding="utf-8")
    figures = {"classes": tally.classes, "confusion": tally.confusion.tolist()}
    (folder / "evaluation.json").write_text(json.dumps(figures))
    return report


def _mistake(rows: pa.Table, row: int, names: tuple[str, str], confidence: float) -> Mistake:
    cells = {name: rows[name][row].as_py() for name in rows.column_names if name not in OWN_COLUMNS}
    image = next((cell for cell in cells.values() if isinstance(cell, bytes)), b"")
    return Mistake(
        truth=names[0],
        predicted=names[1],
        confidence=confidence,
        place=f"{rows[FILE][row].as_py()}:{rows[ROW][row].as_py()}",
        image=image,
        cells={name: str(cell) for name, cell in cells.items() if not isinstance(cell, bytes)},
    )

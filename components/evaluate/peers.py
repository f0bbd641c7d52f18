"""What simpler models reach on the same features: linear, a forest, boosted trees, a support vector machine.

They learn from a sample of the training part and see what the network sees, index columns as zeros and ones. Of a
forecast, one that says the last value again is beside them.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.adapters.store import Store
from components.contracts.artifacts import Dataset
from components.contracts.spec import OWN_COLUMNS, TensorSpec
from components.packages import own_errors
from components.raw_rows import accepted, sampled, truth_of
from components.statistics.keys import TEST, TRAIN
from components.tally import Whole

TRAIN_ROWS, KERNEL_ROWS, TEST_ROWS = 10_000, 3_000, 10_000
"""Rows to learn from, for what costs their square, and to be judged on."""
WIDTH, ONE_HOT = 1000, 64
"""Wider inputs are no table; an index column of more values stays a number."""
NEXT = "_next"
"""At the end of a column's name: the steps after those of the column without it (sources/windows.py)."""

Found = tuple[dict[str, dict[str, float]], int]


@dataclass(frozen=True)
class Sample:
    """Test rows and what is true of them; training rows as the network sees them, None of what is no table."""

    table: pa.Table
    truth: NDArray[Any]
    inputs: NDArray[np.float32] | None
    learnt: NDArray[np.float32] | None
    wanted: NDArray[Any] | None


@contextmanager
def peers_beside(predictor: Any, dataset: Dataset, store: Store) -> Iterator[Callable[[], Found]]:
    """While the block lasts the models learn in a thread, on cores that one thread leaves idle.

    What it is given waits for them: each model's metrics on a sample of the test rows, ours first, and how many rows
    these are. A block that fails waits for the one that is learning.
    """
    sample, over = _sample(predictor, dataset, store), Event()
    if sample is None:
        yield nobody
        return
    classes = len(predictor.target.classes)
    # Made, and so imported, here: two threads that import from one library at the same time may see halves of it.
    models = [] if sample.learnt is None else list(_models(len(sample.learnt), classes=bool(classes)))
    with ThreadPoolExecutor(1, "millrace-peers") as pool:
        later = pool.submit(_answered, sample, models, classes, over)
        try:
            yield lambda: _told(predictor, sample, later.result())
        finally:
            over.set()


def nobody() -> Found:
    """No model, on no rows."""
    return {}, 0


def _sample(predictor: Any, dataset: Dataset, store: Store) -> Sample | None:
    """None where there are no rows, and where there is no table and no forecast of a class or a number."""
    if predictor.objective.kind not in {"classification", "regression"} or not (_flat(predictor) or _ahead(predictor)):
        return None
    with own_errors("correct the data, or run with --rerun package"):
        rows, _ = accepted(predictor, sampled(dataset, store, TEST, TEST_ROWS))
        if not rows.num_rows:
            return None
        table, truth = rows.drop(list(OWN_COLUMNS)), truth_of(predictor, rows)
        if not _flat(predictor) or _matrix(predictor, table.slice(0, 1)) is None:
            return Sample(table, truth, None, None, None)
        learn, _ = accepted(predictor, sampled(dataset, store, TRAIN, TRAIN_ROWS))
        learnt = _matrix(predictor, learn.drop(list(OWN_COLUMNS)))
        return Sample(table, truth, _matrix(predictor, table), learnt, truth_of(predictor, learn))


def _answered(
    sample: Sample, models: Sequence[tuple[str, Any, int]], classes: int, over: Event
) -> dict[str, dict[str, NDArray[Any]]]:
    """Each model's answers to the test rows, until it is over."""
    found: dict[str, dict[str, NDArray[Any]]] = {}
    if sample.inputs is None or sample.learnt is None or sample.wanted is None:
        return found
    for name, model, most in models:
        if over.is_set():
            break
        chosen = np.linspace(0, len(sample.learnt) - 1, min(len(sample.learnt), most)).astype(int)
        wanted = sample.wanted[chosen]
        if len(np.unique(wanted)) > 1:
            found[name] = _answers(model, sample.learnt[chosen], wanted, sample.inputs, classes)
    return found


def _told(predictor: Any, sample: Sample, answers: dict[str, dict[str, NDArray[Any]]]) -> Found:
    last = _last_value(predictor, sample.table, sample.truth)
    every = answers if last is None else {**answers, "last value": last}
    if every:
        every = {"this model": predictor.predict(sample.table).answers, **every}
    return {name: _figures(predictor, one, sample.truth) for name, one in every.items()}, len(sample.truth)


def _models(rows: int, *, classes: bool) -> Iterator[tuple[str, Any, int]]:
    """Name, model, and how many rows it learns from."""
    # Of many rows half of them for each tree make a forest as good (0.983 both on 10,000 drawn ones), in half the time.
    forest = {"random_state": 0, "n_jobs": -1, "max_samples": 0.5 if rows > KERNEL_ROWS else None}
    from sklearn import ensemble, linear_model, svm
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if classes:
        yield (
            "logistic regression",
            make_pipeline(StandardScaler(), linear_model.LogisticRegression(max_iter=300)),
            TRAIN_ROWS,
        )
        yield "random forest", ensemble.RandomForestClassifier(**forest), TRAIN_ROWS
        yield "gradient boosting", ensemble.HistGradientBoostingClassifier(random_state=0), TRAIN_ROWS
        # Its own probabilities would be fitted on the rows that it was fitted on.
        kernel = CalibratedClassifierCV(svm.SVC(random_state=0), ensemble=False, cv=3)
        yield "support vector machine", make_pipeline(StandardScaler(), kernel), KERNEL_ROWS
    else:
        yield "linear regression", make_pipeline(StandardScaler(), linear_model.Ridge()), TRAIN_ROWS
        yield "random forest", ensemble.RandomForestRegressor(**forest), TRAIN_ROWS
        yield "gradient boosting", ensemble.HistGradientBoostingRegressor(random_state=0), TRAIN_ROWS
        yield "support vector machine", make_pipeline(StandardScaler(), svm.SVR()), KERNEL_ROWS


def _specs(predictor: Any) -> list[TensorSpec]:
    return [one.spec(known.state) for one, known in zip(predictor.features, predictor.fitted, strict=True)]


def _flat(predictor: Any) -> bool:
    """Whether the network sees a table."""
    return not any(spec.sequence or len(spec.shape) > 1 for spec in _specs(predictor))


def _ahead(predictor: Any) -> bool:
    """Whether numbers are wanted that come after those of a window."""
    regression = predictor.objective.kind == "regression"
    return regression and all(name.endswith(NEXT) for name in predictor.target.feature.columns)


def _matrix(predictor: Any, rows: pa.Table) -> NDArray[np.float32] | None:
    """What the network sees, float32[rows, width]; None of more than WIDTH."""
    tensors, pieces = predictor.tensors(rows), []
    for spec in _specs(predictor):
        values = tensors[spec.name].cpu().numpy().reshape(rows.num_rows, -1)
        for at in range(values.shape[1]) if spec.classes else ():
            size = spec.classes[at]
            column = values[:, at]
            pieces.append(np.eye(size, dtype=np.float32)[column] if size <= ONE_HOT else column[:, None])
        if not spec.classes:
            pieces.append(values)
        if sum(one.shape[1] for one in pieces) > WIDTH:
            return None
    return np.concatenate(pieces, axis=1, dtype=np.float32)


def _answers(
    model: Any, learnt: NDArray[Any], wanted: NDArray[Any], inputs: NDArray[Any], classes: int
) -> dict[str, NDArray[Any]]:
    """In the shape of the objective's own; a class that the sample lacks has probability 0."""
    if classes:
        few = np.bincount(wanted)[np.unique(wanted)].min() < 3
        fitted = (_uncalibrated(model) if few else model).fit(learnt, wanted)
        probabilities = np.zeros((len(inputs), classes), np.float32)
        probabilities[:, fitted.classes_] = fitted.predict_proba(inputs)
        return {"probabilities": probabilities}
    columns = [model.fit(learnt, wanted[:, at]).predict(inputs) for at in range(wanted.shape[1])]
    values = np.stack(columns, axis=1).astype(np.float64)
    return {"values": values, "low": values, "high": values}


def _uncalibrated(model: Any) -> Any:
    """The same without folds, for which some class has too few rows."""
    from sklearn.svm import SVC

    if hasattr(model, "steps") and not hasattr(model.steps[-1][1], "coef_") and hasattr(model.steps[-1][1], "cv"):
        return type(model)([model.steps[0], ("svc", SVC(probability=True, random_state=0))])
    return model


def _last_value(predictor: Any, rows: pa.Table, truth: NDArray[Any]) -> dict[str, NDArray[Any]] | None:
    """Of a forecast of columns that the window has too: every step as the window's last."""
    columns = predictor.target.feature.columns
    seen = [name.removesuffix(NEXT) for name in columns]
    known = set(rows.column_names)
    if not _ahead(predictor) or not all(own in known and pa.types.is_list(rows[own].type) for own in seen):
        return None
    last = [_ends(rows[own]) for own in seen]
    steps = truth.shape[1] // len(columns)
    values = np.repeat(np.stack(last, axis=1), steps, axis=1)
    return {"values": values, "low": values, "high": values}


def _ends(cells: pa.ChunkedArray) -> NDArray[np.float64]:
    """The last number of each list."""
    lists = cells.combine_chunks()
    ends = np.asarray(lists.offsets)[1:] - 1
    return np.asarray(lists.values.take(pa.array(ends)), np.float64)


def _figures(predictor: Any, answers: Any, truth: NDArray[Any]) -> dict[str, float]:
    objective = predictor.objective
    return Whole(objective.row_metrics(answers, truth), objective.facts(answers, truth), objective.pooled).values()

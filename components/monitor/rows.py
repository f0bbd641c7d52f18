"""The rows that are compared: of the test part, of a new snapshot, of the prediction log; with a model's answers."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.adapters.prediction_log import log_records
from components.adapters.prediction_log import log_rows as read_log
from components.adapters.snapshot_rows import read_rows
from components.adapters.store import Store
from components.cleaning.typed import fits, typed
from components.contracts.artifacts import Dataset, Part
from components.contracts.spec import OWN_COLUMNS
from components.monitor.inner import PLAIN, is_asked, made_of
from components.monitor.settings import MonitorConfig
from components.monitor.sides import Seen
from components.raw_rows import PARTS, sampled
from components.statistics.keys import TEST

TOLD = ("prediction", "confidence")
"""What is compared of answers."""


def reference(predictor: Any, dataset: Dataset, store: Store, config: MonitorConfig) -> Seen:
    """Rows of the test part, which the model did not learn from."""
    rows = sampled(dataset, store, TEST, config.rows).drop(list(OWN_COLUMNS))
    kept = predictor.accepts(rows)
    return answered(predictor, rows.filter(kept), config)


def snapshot_rows(parts: Sequence[Part], store: Store, most: int) -> pa.Table:
    """At most about `most` rows of a raw snapshot, from all over it."""
    chosen = [parts[at] for at in np.unique(np.linspace(0, len(parts) - 1, PARTS).astype(int))] if parts else []
    share = min(1.0, most / max(sum(one.rows for one in chosen), 1))
    tables = []
    for part in chosen:
        rows = read_rows(store, "ingest", part.key)
        count = round(rows.num_rows * share)
        tables.append(
            rows.take(np.linspace(0, rows.num_rows - 1, count).astype(np.int64)) if count else rows.slice(0, 0)
        )
    return pa.concat_tables(tables, promote_options="permissive").drop(list(OWN_COLUMNS))


def batch(predictor: Any, rows: pa.Table, aside: int, config: MonitorConfig) -> Seen:
    """New rows: those that cannot be read, or that cleaning would drop, are counted and left out.

    `aside` of them were set aside when they were read.
    """
    needed = _needed(predictor)
    fit = np.ones(rows.num_rows, bool)
    for column in predictor.raw:
        if column.name in needed and column.name in rows.column_names:
            fit &= fits(rows[column.name], column)
            if not column.nullable:
                fit &= ~np.asarray(rows[column.name].is_null())
    rows = typed(rows, predictor.raw)
    fit &= np.asarray(predictor.accepts(rows), bool)
    seen = answered(predictor, rows.filter(pa.array(fit)), config)
    return replace(seen, refused=int((~fit).sum()) + aside, came=len(fit) + aside)


def log_rows(predictor: Any, parts: Iterable[tuple[dict[str, Any], pa.Table]], config: MonitorConfig) -> Seen:
    """What a server was asked, and what it answered: at most `rows` of it, evenly."""
    tables = [table for _, table in parts]
    whole = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    if whole.num_rows > config.rows:
        whole = whole.take(np.linspace(0, whole.num_rows - 1, config.rows).astype(np.int64))
    asked, told = (_fields(whole, name) for name in ("asked", "answer"))
    columns = asked.select(_compared(predictor, asked, config))
    return Seen(columns=columns, answers=_told(told), inner=_made_of_log(predictor, asked))


def _made_of_log(predictor: Any, asked: pa.Table) -> NDArray[np.float32] | None:
    """What the network makes of logged rows, where the log has all that it reads: texts and files on request only."""
    if not is_asked(predictor) or not _needed(predictor) <= set(asked.column_names):
        return None
    rows = typed(asked, predictor.raw)
    return made_of(predictor, rows.filter(predictor.accepts(rows)))


def _needed(predictor: Any) -> set[str]:
    """The columns that the features read."""
    return {name for feature in predictor.features for name in feature.columns}


def log_parts(store: Store, model: str, package: str, since: datetime) -> list[tuple[dict[str, Any], pa.Table]]:
    """Parts of a model's log since then that this package answered, at most PARTS, with what is noted of each."""
    records = [one for one in log_records(store, model, since) if one.meta["package"] == package]
    # A day of a busy server is more than is compared: some parts of it, from all over, say as much.
    chosen = [records[at] for at in np.unique(np.linspace(0, len(records) - 1, PARTS).astype(int))] if records else []
    return [(dict(one.meta), read_log(store, one)) for one in chosen]


def answered(predictor: Any, rows: pa.Table, config: MonitorConfig) -> Seen:
    """Rows that are fit, with the model's answers to them."""
    columns = rows.select(_compared(predictor, rows, config))
    if not rows.num_rows:
        return Seen(columns=columns, answers=pa.table({}))
    predictions = predictor.predict(rows)
    metric, worse = _worse(predictor, rows, predictions.answers)
    return Seen(
        columns=columns,
        answers=_told(predictions.table()),
        inner=made_of(predictor, rows) if is_asked(predictor) else None,
        worse=worse,
        metric=metric,
    )


def _compared(predictor: Any, rows: pa.Table, config: MonitorConfig) -> list[str]:
    """Columns whose cells say something by themselves: those that plain features read, and the target's."""
    plain = [one for one in predictor.features if getattr(one, "kind", "") in PLAIN]
    names = [name for one in plain for name in one.columns] + list(getattr(predictor.target.feature, "columns", ()))
    return [
        name
        for name in dict.fromkeys(names)
        if name in rows.column_names and name not in config.leave_out and not pa.types.is_nested(rows[name].type)
    ]


def _told(answers: pa.Table) -> pa.Table:
    kept = [one for one in TOLD if one in answers.column_names and not pa.types.is_nested(answers[one].type)]
    return answers.select(kept)


def _worse(predictor: Any, rows: pa.Table, answers: Any) -> tuple[str, NDArray[np.float64] | None]:
    """How wrong each answer is by the objective's first metric of rows, where the truth is there."""
    target = predictor.target
    names = getattr(target.feature, "columns", ())
    if target.parts or not names or any(name not in rows.column_names for name in names):
        return "", None
    truth = predictor.truth(rows)
    known = truth >= 0 if target.classes else np.ones(len(truth), bool)
    # A class that the model has never seen is answered wrong, whatever it says.
    measured = predictor.objective.row_metrics(answers, np.where(known, truth, 0) if target.classes else truth)
    if not measured:
        return "", None
    name, values = next(iter(measured.items()))
    rising = name not in predictor.objective.lower_is_better
    wrong = -values if rising else values
    found = np.asarray(np.where(known, wrong, wrong.max(initial=0)), np.float64)
    return f"-{name}" if rising else name, found


def _fields(table: pa.Table, name: str) -> pa.Table:
    if name not in table.column_names:
        return pa.table({})
    cells = table[name].combine_chunks()
    return pa.table({one.name: cells.field(at) for at, one in enumerate(cells.type)})

"""Raw test rows, what is true of them, and whether two packages can be compared on them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.adapters.snapshot_rows import read_rows
from components.adapters.store import Store
from components.contracts.artifacts import Dataset, ModelPackage
from components.contracts.errors import DataError
from components.contracts.spec import FILE, OWN_COLUMNS, ROW
from components.packages import open_package
from components.predictor import FORMAT
from components.statistics.keys import TEST
from components.statistics.splits import Split

CHUNK_ROWS = 4096
PARTS = 64
"""A sample looks into no more parts of the data."""


def rows_of(dataset: Dataset, store: Store, part_name: str = TEST) -> Iterator[pa.Table]:
    """Raw rows of a part of the split, in chunks."""
    split = Split.model_validate(dataset.split)
    for part in dataset.clean.valid.parts:
        rows = read_rows(store, "validate", part.key)
        chosen = np.flatnonzero(split.parts(rows, strict=False) == part_name)
        for start in range(0, len(chosen), CHUNK_ROWS):
            yield rows.take(chosen[start : start + CHUNK_ROWS])


def sampled(dataset: Dataset, store: Store, part_name: str, most: int) -> pa.Table:
    """At most about `most` raw rows of a part of the split, from all over the data, without reading them all."""
    parts = dataset.clean.valid.parts
    split = Split.model_validate(dataset.split)
    found = []
    for part in [parts[at] for at in np.unique(np.linspace(0, len(parts) - 1, PARTS).astype(int))]:
        rows = read_rows(store, "validate", part.key)
        found.append((rows, np.flatnonzero(split.parts(rows, strict=False) == part_name)))
    share = min(1.0, most / max(sum(len(there) for _, there in found), 1))
    chosen = [(rows, there[_spread(len(there), share)]) for rows, there in found]
    return pa.concat_tables([rows.take(there) for rows, there in chosen])


def _spread(rows: int, share: float) -> NDArray[np.int64]:
    return np.linspace(0, rows - 1, round(rows * share)).astype(np.int64) if rows else np.zeros(0, np.int64)


def folder_of(package: ModelPackage, store: Store) -> Path:
    """The package's MLflow model folder."""
    return package_folder(store, package.fingerprint)


def package_folder(store: Store, fingerprint: str) -> Path:
    """The same by its fingerprint; each of its files is checked once in this process."""
    return store.folder(store.artifact("package", fingerprint).standing()) / "model"


def opened(champion: ModelPackage, store: Store) -> Any:
    """The champion, if it can be asked what this package is asked."""
    found = open_package(folder_of(champion, store))
    if getattr(found, "format", 1) != FORMAT:
        raise DataError(
            "E_LABEL",
            "the champion was packaged by another release and cannot be compared",
            place="register.name",
            value=champion.fingerprint[:12],
            action="register under another name",
        )
    return found


def accepted(predictor: Any, rows: pa.Table) -> tuple[pa.Table, NDArray[np.bool_]]:
    """The rows that the package's cleaning would keep, and which these are."""
    kept = predictor.accepts(rows.drop(list(OWN_COLUMNS)))
    return rows.filter(kept), np.asarray(kept)


def truth_of(predictor: Any, rows: pa.Table) -> NDArray[Any]:
    """What is true of each row, as the package's target says it.

    Raises:
        DataError: E_LABEL, a class is unknown to the model.
    """
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


def add_rival(tally: Any, ours: Any, theirs: Any, rows: pa.Table) -> None:
    """Count a chunk of rows that are in both packages' test parts for the champion.

    Raises:
        DataError: E_LABEL, the two are not about the same thing.
    """
    kept, _ = accepted(theirs, rows)
    known = [_judged_by(one) for one in (ours, theirs)]
    if kept.num_rows != rows.num_rows or known[0] != known[1]:
        raise DataError(
            "E_LABEL",
            "the champion cannot be compared: it predicts something else or refuses rows",
            place="register.name",
            value=", ".join(theirs.target.classes or theirs.target.feature.columns),
            allowed=", ".join(ours.target.classes or ours.target.feature.columns),
            action="register under another name",
        )
    if rows.num_rows:
        tally.add(rows, truth_of(theirs, rows), theirs.predict(rows.drop(list(OWN_COLUMNS))).answers)


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

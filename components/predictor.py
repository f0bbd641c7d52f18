"""A package in, raw typed rows in, predictions out: what evaluate, score, serve and monitor share.

This module is the root of a package's private code: what it imports, with the kinds that the package names, is
copied beside the weights. So it reads only what lies in the package's folder, and unpickles nothing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.cleaning import KINDS as OPERATIONS
from components.cleaning.cells import ARROW
from components.cleaning.typed import read_cells, typed
from components.contracts.artifacts import FittedFeature
from components.contracts.errors import DataError
from components.contracts.registry import load_kind
from components.contracts.spec import Column, TensorSpec
from components.features.feature import indexed
from components.features.fitted import load_feature
from components.models import KINDS as MODELS
from components.objectives import KINDS as OBJECTIVES
from components.objectives.decision import Decision
from components.objectives.objective import Answers, Target, target_of

BATCH_ROWS, PLAIN_ROWS = 1024, 8192
"""Rows that are answered at a time: of any kind, and of nothing but real numbers."""
FORMAT = 2
"""Of what lies in a package, and of what a Predictor offers."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The answers for some rows (objectives/objective.py), and what tells them."""

    answers: Answers
    objective: Any
    target: Target

    def table(self) -> pa.Table:
        """What a user reads: column `prediction`, and what else the objective says of each row."""
        table: pa.Table = self.objective.table(self.answers, self.target)
        return table


class Predictor:
    """A loaded package."""

    format = FORMAT

    def __init__(self, folder: Path) -> None:
        from safetensors.torch import load_file

        data = json.loads((folder / "model.json").read_bytes())
        self.raw = tuple(map(_as_asked, data["raw"]))
        self.columns = tuple(Column.model_validate(column) for column in data["columns"])
        self.fitted = tuple(FittedFeature.model_validate(one) for one in data["features"])
        self.features = [load_feature(fitted) for fitted in self.fitted]
        self.split = data["split"]
        target = FittedFeature.model_validate(data["target"])
        feature = load_feature(target)
        self.target = target_of(feature, target.state, self.columns)
        self.operations = [
            load_kind(_sibling("cleaning"), OPERATIONS, one, "cleaning").model_validate(one)
            for one in data["operations"]
        ]
        objective = load_kind(_sibling("objectives"), OBJECTIVES, data["objective"], "objective")
        self.objective = objective.model_validate(data["objective"])
        self.decision = Decision.model_validate(data.get("decision", {}))
        model = load_kind(_sibling("models"), MODELS, data["model"], "model").model_validate(data["model"])
        inputs = [TensorSpec.model_validate(spec) for spec in data["inputs"]]
        outputs = self.objective.outputs([TensorSpec.model_validate(spec) for spec in data["outputs"]], inputs)
        self.network = model.build(inputs, outputs)
        self.network.load_state_dict(load_file(folder / "weights.safetensors"))
        self.network.eval()

    def table(self, frame: Any) -> pa.Table:
        """A pandas data frame as rows; what stands in a text column is text."""
        texts = {column.name for column in self.raw if column.type == "string"}
        cells = {name: frame[name] for name in frame.columns}
        return pa.table({
            name: pa.array([None if lost else str(cell) for cell, lost in zip(column, column.isna(), strict=True)])
            if name in texts and column.dtype == object
            else pa.array(column, from_pandas=True)
            for name, column in cells.items()
        })

    def cleaned(self, rows: pa.Table) -> pa.Table:
        """`rows` after the recipe's value operations, which are given cells of the types that training rows have.

        Raises:
            DataError: E_COLUMN_MISSING; E_ROW_REJECTED, with the row's number counted from 1.
        """
        needed = {name for feature in self.features for name in feature.columns} | set(self.decision.columns)
        for name in sorted(needed - set(rows.column_names)):
            raise DataError(
                "E_COLUMN_MISSING", "the model needs this column", place="request", value=name, action="add it"
            )
        accepted, rows = self._swept(_read(rows, self.raw, needed))
        lost = pc.index(accepted, False).as_py()
        if lost >= 0:
            raise _rejected(lost, "cleaning would drop it")
        kinds = dict(zip(rows.schema.names, rows.schema.types, strict=True))
        made = [one for one in self.columns if kinds.get(one.name, ARROW[one.type]) != ARROW[one.type]]
        return _read(rows, made, needed) if made else rows

    def accepts(self, rows: pa.Table) -> pa.ChunkedArray:
        """bool[rows]: the raw rows that cleaning would keep."""
        if not self.operations:
            return pa.chunked_array([np.ones(rows.num_rows, bool)])
        return self._swept(typed(rows, self.raw))[0]

    def _swept(self, rows: pa.Table) -> tuple[pa.ChunkedArray, pa.Table]:
        """Which typed rows cleaning would keep, and all of them as its operations leave them."""
        accepted = pa.chunked_array([np.ones(rows.num_rows, bool)])
        for operation in self.operations:
            keeps = operation.keeps(rows)
            if keeps is not None:
                accepted = pc.and_(accepted, pc.fill_null(keeps, False))
            rows = operation.values(rows)
        return accepted, rows

    def predict(self, rows: pa.Table, batch: Callable[[pa.Table], Answers] | None = None) -> Predictions:
        """Predictions for raw rows, in their order; `batch` answers cleaned rows in the place of the network."""
        cleaned, answered = self.cleaned(rows), batch or self._batch
        size = BATCH_ROWS
        if batch is None and self._is_plain(cleaned):
            size, answered = PLAIN_ROWS, self._plain_batch
        pieces = [answered(cleaned.slice(start, size)) for start in range(0, max(cleaned.num_rows, 1), size)]
        return self._joined(pieces)

    def _joined(self, pieces: Sequence[Answers]) -> Predictions:
        answers = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        return Predictions(answers=answers, objective=self.objective, target=self.target)

    def _is_plain(self, cleaned: pa.Table) -> bool:
        """Whether cleaned rows say nothing but real numbers."""
        columns = [cleaned[name] for name in self.plain]
        return bool(columns) and all(one.type == pa.float64() and not one.null_count for one in columns)

    def _plain_batch(self, cleaned: pa.Table) -> Answers:
        return self.predict_matrix(np.stack([cleaned[name].to_numpy() for name in self.plain], axis=1)).answers

    @cached_property
    def plain(self) -> tuple[str, ...]:
        """The columns of real numbers that are all that a row says, if they need no cleaning; else none."""
        read = [name for feature in self.features for name in feature.columns]
        real = [{one.name for one in columns if one.type == "float64"} for columns in (self.raw, self.columns)]
        fit = all(hasattr(one, "of_matrix") for one in self.features) and not self.decision.columns
        spared = all(getattr(one, "spares_numbers", False) for one in self.operations)
        return tuple(dict.fromkeys(read)) if fit and spared and real[0] & real[1] >= set(read) else ()

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        return {one.name: [self.plain.index(name) for name in one.columns] for one in self.features}

    def predict_matrix(
        self, cells: NDArray[np.float64], outputs: Callable[[dict[str, NDArray[Any]]], Mapping[str, Any]] | None = None
    ) -> Predictions:
        """What `predict` says of rows of finite numbers, float64[rows, columns] in the order of `plain`.

        `outputs` gives the tensors of what features store in the place of the network.
        """
        import torch

        stored = {
            one.name: one.of_matrix(cells if one.columns == self.plain else cells[:, self._places[one.name]])
            for one in cast(list[Any], self.features)
        }
        with torch.inference_mode():
            inputs: dict[str, Any] = {}
            if outputs is None:
                inputs = self._applied({name: torch.from_numpy(one) for name, one in stored.items()})
            answers = self.decoded(outputs(stored) if outputs else self.network(inputs), inputs, None)
        return Predictions(answers=answers, objective=self.objective, target=self.target)

    def truth(self, rows: pa.Table) -> NDArray[Any]:
        """Each raw row's own target: a class index, -1 for one that the model does not know; or numbers."""
        truth: NDArray[Any] = self.target.feature.truth(
            self.target.feature.prepare(self.cleaned(rows)), self.target.state
        )
        return truth

    def portraits(self) -> list[dict[str, Any]]:
        """Pictures of the network itself, where its objective draws any."""
        if not hasattr(self.objective, "portraits"):
            return []
        states = [one.state for one in self.fitted]
        drawn: list[dict[str, Any]] = self.objective.portraits(
            self.network, list(zip(self.features, states, strict=True))
        )
        return drawn

    def _batch(self, rows: pa.Table) -> Answers:
        import torch

        with torch.inference_mode():
            inputs = self._tensors(rows)
            return self.decoded(self.network(inputs), inputs, rows)

    def decoded(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], cleaned: pa.Table | None) -> Answers:
        """What the network's outputs say of cleaned rows, tensors of which it made them.

        The rows themselves are looked at where the decision hangs on columns of theirs.
        """
        return self.decision.applied(self.objective.decode(outputs, inputs, self.target), cleaned)

    def tensors(self, rows: pa.Table) -> dict[str, Any]:
        """What the network sees of raw rows: a tensor by the name of each feature."""
        return self._tensors(self.cleaned(rows))

    def stored(self, cleaned: pa.Table) -> dict[str, Any]:
        """What each feature's `apply` takes of cleaned rows, by its name."""
        return {
            feature.name: indexed(feature, fitted.state, cleaned)
            for feature, fitted in zip(self.features, self.fitted, strict=True)
        }

    def _tensors(self, rows: pa.Table) -> dict[str, Any]:
        return self._applied(self.stored(rows))

    def _applied(self, found: Mapping[str, Any]) -> dict[str, Any]:
        return {
            feature.name: feature.apply(found[feature.name], fitted.state)
            for feature, fitted in zip(self.features, self.fitted, strict=True)
        }


def _as_asked(column: dict[str, Any]) -> Column:
    """A column as a request has it: clock times of which nobody says the zone are in that of the source, or in UTC."""
    found = Column.model_validate(column)
    return found.model_copy(update={"timezone": found.timezone or "UTC"}) if found.type == "timestamp" else found


def _read(rows: pa.Table, columns: Sequence[Column], needed: set[str]) -> pa.Table:
    """`rows` with these columns as their types; a cell of one that is needed has to be of it."""
    declared, names, read = {one.name: one for one in columns}, rows.column_names, []
    for name, cells in zip(names, rows.columns, strict=True):
        found = read_cells(cells, declared[name]) if name in declared else None
        if found is not None and found.faults and name in needed:
            lost = min(int(one.rows.argmax()) for one in found.faults)
            raise _rejected(lost, f"{name} is not of type {declared[name].type}")
        read.append(cells if found is None else found.values)
    return pa.Table.from_arrays(read, names)


def _sibling(package: str) -> str:
    return f"{__package__}.{package}"


def _rejected(row: int, why: str) -> DataError:
    return DataError(
        "E_ROW_REJECTED",
        f"the row misses what the model needs ({why})",
        place=f"request row {row + 1}",
        action="complete the row or leave it out",
    )

"""The model that answers, and its replacement while it answers.

What stands in the store under the champion's pointer is loaded, after the digest of every file was checked, asked its
own example, and only then put in the place of the one before; that one answers what it has begun. A version that is
altered, or does not answer, is refused, and the old one stays.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from components.adapters.pointers import drift_pointer
from components.adapters.store import Store
from components.context import RunContext
from components.contracts.errors import EnvironmentFault, IntegrityError, MillraceError
from components.contracts.spec import Column
from components.explanations.attribution import check_captum
from components.explanations.single import EXPLAINED, looked_at
from components.explanations.single import told as single
from components.exports.engine import Engine, check_engine
from components.exports.graph import check_onnx, write_onnx
from components.packages import PARTS, open_package
from components.raw_rows import package_folder
from components.registered import Place, find
from components.serve.wire import Asked, RefusedError, matrix_of, table_of

AT_ONCE = 1024
"""Rows of a matrix at most: more are answered piece by piece, as tables."""


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """A loaded version; `columns` are those of a request, `outputs` what MLflow's signature says it gives.

    `plain` names the columns of rows that are taken as a matrix where all cells are numbers.
    """

    name: str
    place: Place
    predictor: Any
    answerer: Any
    """The predictor itself, or a graph in its place."""
    plain: tuple[str, ...]
    columns: tuple[Column, ...]
    outputs: list[dict[str, Any]]
    example: dict[str, Any]

    def answers(self, asked: Sequence[Asked]) -> list[Any]:
        """Of each request its rows' answers, as a list of objects, or what is wrong with it."""
        try:
            rows = self._told(asked)
        except Exception:  # noqa: BLE001 - whatever it is, it is of one of them: each is asked for itself
            return [self._alone(one) for one in asked]
        found, start = [], 0
        for one in asked:
            found.append(rows[start : start + one.rows])
            start += one.rows
        return found

    def _told(self, asked: Sequence[Asked]) -> list[dict[str, Any]]:
        matrix = matrix_of(asked, self.plain) if self.plain and sum(one.rows for one in asked) <= AT_ONCE else None
        if matrix is None:
            found = self.answerer.predict(table_of(asked, self.columns))
        else:
            found = self.answerer.predict_matrix(matrix)
        told: list[dict[str, Any]] = found.table().to_pylist()
        return told

    def _alone(self, asked: Asked) -> Any:
        try:
            return self._told([asked])
        except Exception as error:  # noqa: BLE001 - a defect is the answer to this request, and to no other
            return _refusal(error)

    def explained(self, asked: Asked) -> dict[str, Any]:
        """The answer to one row, the names of its classes, and why it is so, or why that is not said.

        One call at a time: it listens at the layers of a network of its own.

        Raises:
            RefusedError: What is wrong with the row.
        """
        try:
            rows = table_of([asked], self.columns)
            (answer,) = self.answerer.predict(rows).table().to_pylist()
        except Exception as error:
            raise _refusal(error) from error
        told = {"answer": answer, "classes": list(self.predictor.target.classes), "explanation": None, "why_not": ""}
        try:
            check_captum()
        except EnvironmentFault as fault:
            return told | {"why_not": f"{fault.what}: {fault.action}"}
        if self.predictor.objective.kind not in EXPLAINED:
            return told | {"why_not": f"answers of kind {self.predictor.objective.kind} are not explained"}
        return told | {"explanation": single(*looked_at(self.predictor, rows, self._listened), rows)}

    @cached_property
    def _listened(self) -> Any:
        return deepcopy(self.predictor.network)


class Host:
    """One model's name, with what answers under it now. `alias` is champion, another alias, or a version's number."""

    def __init__(
        self, ctx: RunContext, name: str, alias: str, told: Callable[[str], None], *, graph: bool = False
    ) -> None:
        self.ctx, self.name, self.alias, self.told, self._graph = ctx, name, alias, told, graph
        self.refused = ""
        self.swaps = 0
        self.drift: Mapping[str, Any] = {}
        self.now = self._loaded(find(ctx, f"{name}@{alias}"))

    def look(self) -> bool:
        """Whether another version answers from now on; what is wrong with one that does not come in is said once."""
        try:
            found = drift_pointer(self.ctx.store, self.name).read()
            self.drift = found.value if found else {}
            wanted = find(self.ctx, f"{self.name}@{self.alias}")
            if wanted == self.now.place:
                self.refused = ""
                return False
            came = self._loaded(wanted)
        except Exception as error:  # noqa: BLE001 - a version that does not come in, for any reason, ends nothing
            key = error.line() if isinstance(error, MillraceError) else f"{type(error).__name__}: {error}"
            if key != self.refused:
                self.told(f"{self.name} stays at version {self.now.place.version}: {key}")
            self.refused = key
            return False
        before, self.now, self.refused = self.now, came, ""
        self.swaps += 1
        self.told(f"{self.name} version {came.place.version} answers in the place of {before.place.version}")
        return True

    def _loaded(self, place: Place) -> Hosted:
        # Of its own, so that files which were right once are looked at again.
        store = Store(self.ctx.store.files)
        folder = package_folder(store, place.fingerprint)
        predictor = open_package(folder)
        said = json.loads((folder / PARTS / "model.json").read_bytes())
        needed = set(said["needed"])
        columns = tuple(one for one in predictor.raw if one.name in needed)
        example = json.loads((folder / "input_example.json").read_bytes())
        hosted = Hosted(
            name=self.name,
            place=place,
            predictor=predictor,
            answerer=predictor,
            plain=getattr(predictor, "plain", ()),
            columns=columns,
            outputs=_outputs(folder),
            example=example,
        )
        if self._graph:
            hosted = replace(hosted, answerer=_engine(hosted))
        self._check(hosted, folder)
        return hosted

    def _check(self, hosted: Hosted, folder: Path) -> None:
        """Ask the package its own example: it has to answer as when it was made, and is warm then."""
        (answer,) = hosted.answers([_example(hosted)])
        golden = folder / PARTS / "golden.json"
        wanted = json.loads(golden.read_bytes()).get("prediction") if golden.exists() else None
        if isinstance(answer, Exception) or (wanted and [one["prediction"] for one in answer] != wanted):
            raise IntegrityError(
                "E_SMOKE",
                "the package does not answer its own example as it did",
                place=f"{self.name} version {hosted.place.version}",
                action="run its recipe again",
            )


def _engine(hosted: Hosted) -> Engine:
    """The same network as a graph of ONNX Runtime, which has to answer the example alike (`Host._check`)."""
    check_onnx()
    check_engine(hosted.predictor)
    rows = hosted.predictor.cleaned(table_of([_example(hosted)], hosted.columns))
    with tempfile.TemporaryDirectory(prefix="millrace-graph-") as scratch:
        write_onnx(hosted.predictor, rows, path := Path(scratch) / "model.onnx")
        return Engine(hosted.predictor, path, threads=1)


def _example(hosted: Hosted) -> Asked:
    split = hosted.example
    return Asked(dict(zip(split["columns"], zip(*split["data"], strict=True), strict=True)), len(split["data"]))


def _outputs(folder: Path) -> list[dict[str, Any]]:
    import yaml

    said = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["signature"]["outputs"]
    found: list[dict[str, Any]] = json.loads(said)
    return found


def _refusal(error: Exception) -> Exception:
    """What is wrong with a request, of an error of the package's own classes; any other is what it is."""
    code = getattr(error, "code", "")
    if not code or isinstance(error, RefusedError):
        return error
    status = 400 if code == "E_COLUMN_MISSING" else 422
    return RefusedError(status, code, getattr(error, "what", str(error)) + _where(error))


def _where(error: Any) -> str:
    place = getattr(error, "place", "")
    value = getattr(error, "value", None)
    return (f" ({place})" if place else "") + (f": {value}" if value else "")

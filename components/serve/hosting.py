"""The model that answers, and its replacement while it answers.

What stands in the store under the champion's pointer is loaded, after the digest of every file was checked, asked its
own example, and only then put in the place of the one before; that one answers what it has begun. A version that is
altered, or does not answer, is refused, and the old one stays.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.adapters.model_registry import CHAMPION, FINGERPRINT_TAG, PACKAGE_TAG, VERIFIED_TAG
from components.adapters.pointers import Pointer
from components.adapters.store import Store
from components.context import RunContext
from components.contracts.errors import ConfigError, IntegrityError, MillraceError
from components.contracts.spec import Column
from components.packages import PARTS, open_package
from components.serve.wire import Asked, RefusedError, table_of


@dataclass(frozen=True)
class Place:
    """Which package is asked for: a version of a model."""

    version: str
    content: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """A loaded version; `columns` are those of a request, `outputs` what MLflow's signature says it gives."""

    name: str
    place: Place
    predictor: Any
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
        told: list[dict[str, Any]] = self.predictor.predict(table_of(asked, self.columns)).table().to_pylist()
        return told

    def _alone(self, asked: Asked) -> Any:
        try:
            return self._told([asked])
        except RefusedError as refused:
            return refused
        except Exception as error:  # noqa: BLE001 - a defect is the answer to this request, and to no other
            # Of the package's own classes.
            code = getattr(error, "code", "")
            if not code:
                return error
            status = 400 if code == "E_COLUMN_MISSING" else 422
            return RefusedError(status, code, getattr(error, "what", str(error)) + _where(error))


class Host:
    """One model's name, with what answers under it now. `alias` is champion, another alias, or a version's number."""

    def __init__(self, ctx: RunContext, name: str, alias: str, told: Callable[[str], None]) -> None:
        self.ctx, self.name, self.alias, self._told = ctx, name, alias, told
        self.refused = ""
        self.swaps = 0
        self.now = self._loaded(find(ctx, name, alias))

    def look(self) -> bool:
        """Whether another version answers from now on; what is wrong with one that does not come in is said once."""
        try:
            wanted = find(self.ctx, self.name, self.alias)
            if wanted == self.now.place:
                self.refused = ""
                return False
            came = self._loaded(wanted)
        except Exception as error:  # noqa: BLE001 - a version that does not come in, for any reason, ends nothing
            key = error.line() if isinstance(error, MillraceError) else f"{type(error).__name__}: {error}"
            if key != self.refused:
                self._told(f"{self.name} stays at version {self.now.place.version}: {key}")
            self.refused = key
            return False
        before, self.now, self.refused = self.now, came, ""
        self.swaps += 1
        self._told(f"{self.name} version {came.place.version} answers in the place of {before.place.version}")
        return True

    def _loaded(self, place: Place) -> Hosted:
        # Of its own, so that files which were right once are looked at again.
        store = Store(self.ctx.store.files)
        folder = store.folder(store.artifact("package", place.fingerprint).standing()) / "model"
        predictor = open_package(folder)
        said = json.loads((folder / PARTS / "model.json").read_bytes())
        needed = set(said["needed"])
        columns = tuple(one for one in predictor.raw if one.name in needed)
        example = json.loads((folder / "input_example.json").read_bytes())
        hosted = Hosted(
            name=self.name,
            place=place,
            predictor=predictor,
            columns=columns,
            outputs=_outputs(folder),
            example=example,
        )
        self._check(hosted, folder)
        return hosted

    def _check(self, hosted: Hosted, folder: Path) -> None:
        """Ask the package its own example: it has to answer as when it was made, and is warm then."""
        split = hosted.example
        cells = dict(zip(split["columns"], zip(*split["data"], strict=True), strict=True))
        asked = Asked(cells, len(split["data"]))
        (answer,) = hosted.answers([asked])
        golden = folder / PARTS / "golden.json"
        wanted = json.loads(golden.read_bytes()).get("prediction") if golden.exists() else None
        if isinstance(answer, Exception) or (wanted and [one["prediction"] for one in answer] != wanted):
            raise IntegrityError(
                "E_SMOKE",
                "the package does not answer its own example as it did",
                place=f"{self.name} version {hosted.place.version}",
                action="run its recipe again",
            )


def find(ctx: RunContext, name: str, alias: str) -> Place:
    """Which version stands under an alias (champion, another one of the registry's, or a number) now.

    Raises:
        ConfigError: E_CONFIG, there is none that a run registered whole.
    """
    if alias == CHAMPION:
        standing = Pointer(ctx.store, f"champion/{name}").read()
        if standing is None:
            raise _unknown("no model of that name was ever champion", name, alias)
        said = standing.value
        return Place(str(said["version"]), str(said["content"]), str(said["fingerprint"]))
    version = alias if alias.isdigit() else ctx.tracker.aliased(name, alias)
    tags = ctx.tracker.version_tags(name, version) if version else {}
    if tags.get(VERIFIED_TAG) != "true":
        raise _unknown("there is no such version that a run registered whole", name, alias)
    return Place(version, tags[PACKAGE_TAG], tags[FINGERPRINT_TAG])


def _unknown(what: str, name: str, alias: str) -> ConfigError:
    return ConfigError(
        "E_CONFIG",
        what,
        place="NAME",
        value=f"{name}@{alias}",
        action="`millrace champions` lists what there is; run a recipe first",
    )


def _outputs(folder: Path) -> list[dict[str, Any]]:
    import yaml

    said = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["signature"]["outputs"]
    found: list[dict[str, Any]] = json.loads(said)
    return found


def _where(error: Any) -> str:
    place = getattr(error, "place", "")
    value = getattr(error, "value", None)
    return (f" ({place})" if place else "") + (f": {value}" if value else "")

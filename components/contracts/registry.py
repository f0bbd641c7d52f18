"""Kinds by name: a literal mapping in a package's `__init__` from kind to `module:Class`, loaded when it is named.

Module names are relative to the package, so that the same mapping works in a vendored copy of it. Kind `custom` names
a class of the user's own in `target`; in a vendored copy its module lies under `own`.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from components.contracts.config import CustomConfig
from components.contracts.errors import ConfigError

CUSTOM = "custom"
OWN = "own"
ROOT = __name__.rpartition(".contracts.")[0]
"""`components`, or the name of a package's private code."""

MARK = "x-millrace-kinds"
"""Where flows/schema.py puts the schemas of a package's kinds."""

OFFERS = {
    "sources": ("version", "columns", "partitions", "read"),
    "cleaning": ("values", "keeps"),
    "augment": (),
    "features": ("name", "columns", "prepare", "fit", "merge", "finish", "spec", "lookup", "apply"),
    "models": ("build",),
    "objectives": (
        "targets", "monitored", "lower_is_better", "baseline_name", "outputs", "loss", "scores", "decode", "columns",
        "table", "row_metrics", "facts", "pooled", "constant", "badness", "told", "figures",
    ),
}  # fmt: skip
"""What a class has to offer to be a kind of a package; the protocols beside them say how."""


def load_kind(package: str, kinds: Mapping[str, str], config: Mapping[str, Any], place: str) -> Any:
    """The class that `config["kind"]` names in `package`.

    Raises:
        ConfigError: no such kind; names the nearest one. The target of a custom kind cannot be used.
    """
    kind = config.get("kind")
    if kind == CUSTOM:
        return _custom(package.rpartition(".")[2], config.get("target"), place)
    if not isinstance(kind, str) or kind not in kinds:
        near = nearest(kind, kinds)
        raise ConfigError(
            "E_CONFIG",
            "there is no kind of that name" + near if kind is not None else "this key is needed",
            place=f"{place}.kind",
            value=kind,
            allowed=", ".join([*sorted(kinds), f"{CUSTOM} with a target"]),
            action="name one of these",
        )
    module, _, name = kinds[kind].partition(":")
    return getattr(import_module(f"{package}.{module}"), name)


def nearest(name: Any, names: Any, cutoff: float = 0.5) -> str:
    """`; nearest: x`, or nothing where no name of `names` is near."""
    near = difflib.get_close_matches(str(name), [str(one) for one in names], 1, cutoff)
    return f"; nearest: {near[0]}" if near else ""


def _custom(package: str, target: Any, place: str) -> Any:
    def mistake(what: str, action: str) -> ConfigError:
        return ConfigError("E_CONFIG", what, place=f"{place}.target", value=target, action=action)

    module, colon, name = target.partition(":") if isinstance(target, str) else ("", "", "")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise mistake("a custom kind needs a target of the form package.module:Class", "write it so")
    try:
        loaded = import_module(module if ROOT == "components" else f"{ROOT}.{OWN}.{module}")
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
        action = "install its package, add its folder to PYTHONPATH, or put it beside the recipe"
        raise mistake(f"its module cannot be imported ({said})", action) from error
    found = getattr(loaded, name, None)
    if found is None:
        classes = [one for one, value in vars(loaded).items() if isinstance(value, type)]
        raise mistake(f"its module has no such class{nearest(name, classes, 0.5)}", "correct the name")
    if not (isinstance(found, type) and issubclass(found, CustomConfig)):
        raise mistake("it is not a subclass of components.contracts.config.CustomConfig", "make it one")
    lacking = [one for one in OFFERS[package] if not hasattr(found, one) and one not in found.model_fields]
    if lacking:
        raise mistake(f"it lacks what {package} offer: {', '.join(lacking)}", "add it")
    return found


@dataclass(frozen=True, eq=False)
class Kinds:
    """The kinds of one components package, as pydantic metadata."""

    package: str
    kinds: Mapping[str, str]

    def load(self, value: Any) -> Any:
        """The class that `value`, a mapping, names.

        Raises:
            ConfigError: E_CONFIG, there is no such kind.
        """
        return load_kind(f"{ROOT}.{self.package}", self.kinds, value, self.package)

    def _choose(self, value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value
        if not isinstance(value, dict):
            raise ValueError("this needs keys, first of all `kind`")  # noqa: TRY004 - pydantic collects this one
        return self.load(value).model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Any config of these kinds."""
        return core_schema.no_info_before_validator_function(self._choose, handler(source))

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        """A mark for schema.py, since giving the schemas here would import every kind."""
        return {MARK: self.package}

"""A recipe as data: loaded, checked, resolved. Checking imports neither torch nor dask.

`PipelineConfig` is what a recipe says; `load_recipe` reads one by name or path, applies overrides and reports every
mistake at once.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from components.cleaning import KINDS as OPERATIONS
from components.contracts.config import Frozen
from components.contracts.errors import ConfigError, MillraceError, rebuilt
from components.contracts.registry import load_kind
from components.evaluate import EvaluateConfig
from components.features import KINDS as FEATURES
from components.gate import GateConfig
from components.models import KINDS as MODELS
from components.objectives import KINDS as OBJECTIVES
from components.preprocess import SplitConfig, check_names
from components.register import RegisterConfig
from components.sources import KINDS as SOURCES
from components.train import TrainSettings
from components.validate import ColumnCheck, ValidateConfig

RECIPES = Path(__file__).with_name("recipes")
MAX_BYTES = 1_000_000


def _kind(package: str, kinds: Mapping[str, str]) -> Any:
    def choose(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value
        if not isinstance(value, dict):
            raise ValueError("needs keys, first of all `kind`")  # noqa: TRY004 - pydantic collects this one
        return load_kind(f"components.{package}", kinds, value.get("kind"), package).model_validate(value)

    return BeforeValidator(choose)


Source = Annotated[SerializeAsAny[BaseModel], _kind("sources", SOURCES)]
Operation = Annotated[SerializeAsAny[BaseModel], _kind("cleaning", OPERATIONS)]
Feature = Annotated[SerializeAsAny[BaseModel], _kind("features", FEATURES)]
Model = Annotated[SerializeAsAny[BaseModel], _kind("models", MODELS)]
Objective = Annotated[SerializeAsAny[BaseModel], _kind("objectives", OBJECTIVES)]


class PipelineConfig(Frozen):
    """One recipe, resolved."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="lower-case letters, digits and dashes")
    description: str = Field("", description="one or two sentences for the list of recipes")
    source: Source
    checks: ValidateConfig = ValidateConfig()
    cleaning: tuple[Operation, ...] = ()
    features: tuple[Feature, ...] = Field(min_length=1)
    target: Feature
    split: SplitConfig = SplitConfig()
    model: Model
    objective: Objective
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    register_as: RegisterConfig = Field(RegisterConfig(), alias="register")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        check_names((*self.features, self.target))
        return self

    @property
    def validation(self) -> ValidateConfig:
        """The checks, with the types that features need of columns for which the recipe declares none."""
        implied = {
            name: ColumnCheck(type=feature.needs)
            for feature in self.features
            if hasattr(feature, "needs")
            for name in feature.columns  # type: ignore[attr-defined]
        }
        return self.checks.model_copy(update={"columns": {**implied, **self.checks.columns}})

    @property
    def model_name(self) -> str:
        """The name in the registry."""
        return self.register_as.name or self.name


class _Loader(yaml.SafeLoader):
    """Plain data only: a key that stands twice and an alias are errors."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"aliases are not allowed (line {mark.line + 1})")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's signature
        keys = [key.value for key, _ in node.value]
        double = [key for key in keys if keys.count(key) > 1]
        if double:
            raise yaml.YAMLError(f"the key {double[0]!r} stands twice (line {node.start_mark.line + 1})")
        return super().construct_mapping(node, deep)


def recipe_names() -> list[str]:
    """The shipped recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(recipe: str, overrides: Iterable[str] = (), data: Path | None = None) -> PipelineConfig:
    """The recipe of that name or at that path, with `key.path=value` overrides applied.

    A relative `source.uri` is looked for under `data` where that is set, then beside the recipe's file, then here.

    Raises:
        ConfigError: E_CONFIG; further mistakes are in `others`.
    """
    raw = _read(_find(recipe))
    for override in overrides:
        _apply(raw, override)
    _place(raw, data, Path(recipe).parent if Path(recipe).is_file() else None)
    try:
        return PipelineConfig.model_validate(raw)
    except ValidationError as error:
        found = error.errors()
        deeper = {one["loc"][:depth] for one in found for depth in range(len(one["loc"]))}
        # A list whose items are wrong also counts as too short; the items say what is wrong.
        mistakes = [_mistake(one) for one in found if one["type"] != "too_short" or one["loc"] not in deeper]
        first = mistakes[0]
        first.others = tuple(mistakes[1:])
        raise first from None


def _find(recipe: str) -> Path:
    path = RECIPES / f"{recipe}.yaml"
    if path.is_file():
        return path
    path = Path(recipe)
    if path.is_file():
        return path
    near = difflib.get_close_matches(recipe, recipe_names(), 1, 0.0)
    raise ConfigError(
        "E_CONFIG",
        f"there is no such recipe or file; nearest: {near[0]}",
        place="recipe",
        value=recipe,
        allowed=", ".join(recipe_names()) + " or a path",
        action="name one of these",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise yaml.YAMLError(f"the file is larger than {MAX_BYTES} bytes")
        data = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 - a safe loader, made stricter
        if not isinstance(data, dict):
            raise yaml.YAMLError("a recipe is a mapping of keys")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ConfigError("E_CONFIG", text, place=str(path), action="correct the YAML") from None
    return data


def _apply(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            "E_CONFIG", "an override is key.path=value", place="--set", value=override, action="write it so"
        )
    node: Any = raw
    for key in keys[:-1]:
        node = (
            node[int(key)] if isinstance(node, list) and key.isdigit() and int(key) < len(node) else _child(node, key)
        )
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        value = text
    if isinstance(node, list) and keys[-1].isdigit() and int(keys[-1]) < len(node):
        node[int(keys[-1])] = value
    elif isinstance(node, dict):
        node[keys[-1]] = value
    else:
        raise ConfigError(
            "E_CONFIG", "nothing is there to set", place="--set", value=override, action="correct the key"
        )


def _child(node: Any, key: str) -> Any:
    if not isinstance(node, dict):
        raise ConfigError("E_CONFIG", "nothing is there to set", place="--set", value=key, action="correct the key")
    return node.setdefault(key, {})


def _place(raw: dict[str, Any], data: Path | None, beside: Path | None) -> None:
    source = raw.get("source")
    if not isinstance(source, dict):
        return
    uri = source.get("uri")
    folders = [folder for folder in (data, beside) if folder is not None]
    if isinstance(uri, str) and folders and not Path(uri).expanduser().is_absolute():
        tried = [*(folder / uri for folder in folders), Path(uri)]
        source["uri"] = str(next((path for path in tried if path.exists()), tried[0]))


def _mistake(error: Any) -> MillraceError:
    text = ".".join(str(part) for part in error["loc"])
    inner = error.get("ctx", {}).get("error")
    if isinstance(inner, ConfigError):
        place = f"{text}.{inner.place.rpartition('.')[2]}" if text else inner.place
        return rebuilt(ConfigError, inner.code, inner.what, place, inner.value, inner.allowed, inner.action)
    if error["type"] == "extra_forbidden":
        return ConfigError(
            "E_CONFIG", "there is no such key", place=text, value=error["input"], action="correct its name or remove it"
        )
    if error["type"] == "missing":
        return ConfigError("E_CONFIG", "this key is needed", place=text, action="add it")
    what = error["msg"].removeprefix("Value error, ")
    return ConfigError("E_CONFIG", what, place=text, value=error["input"], action="correct the value")

"""A recipe as data: loaded, checked, resolved. Checking imports neither torch nor dask.

`PipelineConfig` is what a recipe says; `load_recipe` reads one (recipe_files.py) and reports every mistake at once
(mistakes.py).
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, SerializeAsAny, ValidationError, model_validator

from components.augment import KINDS as AUGMENTATIONS
from components.augment.augmentation import check_features
from components.clean import check_operations
from components.cleaning import KINDS as OPERATIONS
from components.compress import CompressConfig
from components.contracts.config import Frozen, custom_modules
from components.contracts.errors import ConfigError
from components.contracts.registry import Kinds
from components.evaluate import EvaluateConfig
from components.features import KINDS as FEATURES
from components.features.several import parts_of
from components.gate import METRIC_RULES, GateConfig
from components.models import KINDS as MODELS
from components.monitor.settings import MonitorConfig
from components.objectives import KINDS as OBJECTIVES
from components.objectives.objective import check_metrics, check_model, check_monitor, check_target
from components.package import PackageConfig
from components.packages import private_code
from components.preprocess import DeadColumns, check_names
from components.preprocess.leaks import LeakConfig
from components.preprocess.outliers import OutlierConfig
from components.preprocess.rebalance import Rebalance
from components.register import RegisterConfig
from components.retrain import RetrainPolicy
from components.sources import KINDS as SOURCES
from components.statistics.splits import SplitConfig
from components.train import TrainSettings
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck
from flows import recipe_files
from flows.mistakes import holds_secret, in_overrides, leaks, mistakes, raise_all, secrets
from flows.overrides import override
from flows.search import SearchConfig

Source = Annotated[SerializeAsAny[BaseModel], Kinds("sources", SOURCES)]
Operation = Annotated[SerializeAsAny[BaseModel], Kinds("cleaning", OPERATIONS)]
Feature = Annotated[SerializeAsAny[BaseModel], Kinds("features", FEATURES)]
Augmentation = Annotated[SerializeAsAny[BaseModel], Kinds("augment", AUGMENTATIONS)]
Model = Annotated[SerializeAsAny[BaseModel], Kinds("models", MODELS)]
Objective = Annotated[SerializeAsAny[BaseModel], Kinds("objectives", OBJECTIVES)]


class ProofConfig(Frozen):
    """What a shipped recipe promises, and how that is shown; no step reads it."""

    data: str = Field("", description="where its rows come from: `built in`, or the name of the file to fetch")
    metric: str = Field("accuracy", description="the figure of the test part that is promised")
    floor: float = Field(0.0, description="what its mean over the seeds has to reach; 0: nothing is promised")
    also: dict[str, float] = Field({}, description="further figures, with what their means have to reach")
    seeds: int = Field(3, ge=1, description="how many seeds the mean is taken over")
    vary: tuple[str, ...] = Field((), description="changes of the recipe: each seed's figure is the mean over them")
    quick: bool = Field(True, description="whether `make recipes` runs it, or only `make recipes-full`")
    device: Literal["any", "gpu"] = Field("any", description="gpu: what is promised is promised for a GPU")
    short: tuple[str, ...] = Field(
        (), description="changes of the recipe without a GPU: its validation metric has to rise from epoch to epoch"
    )


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
    leaks: LeakConfig = LeakConfig()
    outliers: tuple[OutlierConfig, ...] = ()
    rebalance: Rebalance = Field("none", description="how rare classes are made to count in training")
    reweigh: tuple[str, ...] = Field(
        (), description="columns of people's groups: training rows count so that a group says nothing of the class"
    )
    dead_columns: DeadColumns = Field(
        "refuse", description="feature columns that have one value or none in the training part: refuse, or allow them"
    )
    refit: int = Field(0, ge=0, description="byte-pair tokens stay as rows change; raise it to find them anew")
    augment: tuple[Augmentation, ...] = Field((), description="changes of training batches, in order")
    model: Model
    objective: Objective
    train: TrainSettings = TrainSettings()
    package: PackageConfig = PackageConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    compress: CompressConfig | None = Field(None, description="smaller versions of the model; none if not given")
    gate: GateConfig = GateConfig()
    register_as: RegisterConfig = Field(RegisterConfig(), alias="register")
    monitor: MonitorConfig = Field(MonitorConfig(), description="how new rows are held against the test rows")
    retrain: RetrainPolicy = Field(RetrainPolicy(), description="when the model is worth training again")
    proof: ProofConfig = ProofConfig()
    search: SearchConfig = Field(SearchConfig(), description="what `millrace tune` varies; no step reads it")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        check_names((*self.features, *parts_of(self.target)))
        check_operations(self.cleaning)
        check_target(self.objective, self.target)
        check_model(self.objective, self.model)
        check_monitor(self.objective, self.train.monitor)
        check_metrics(
            self.objective,
            {f"gate.{name}": getattr(self.gate, name) for name in METRIC_RULES},
        )
        self._check_people()
        check_features(self.augment, [feature.name for feature in self.features])  # type: ignore[attr-defined]
        return self

    def _check_people(self) -> None:
        """Find now, and not after training, what groups of people and thresholds cannot be asked of."""
        target, objective = self.target.kind, self.objective.kind  # type: ignore[attr-defined]
        classes, said = objective in {"classification", "custom"}, "objective classification"
        asked: tuple[tuple[str, Any, bool, str], ...] = (
            ("reweigh", self.reweigh, target in {"label", "custom"}, "a target of kind label"),
            ("package.threshold", self.package.threshold, classes, said),
            ("package.temperature", self.package.temperature, classes, said),
            ("evaluate.sensitive", self.evaluate.sensitive, classes, said),
            ("gate.fairness", self.gate.fairness, bool(self.evaluate.sensitive), "evaluate.sensitive names columns"),
        )
        for place, value, fits, allowed in asked:
            if value and not fits:
                raise ConfigError(
                    "E_CONFIG",
                    "this asks for groups or classes that there are none of",
                    place=place,
                    value=str(value),
                    allowed=allowed,
                    action="leave it out, or change the other",
                )

    @property
    def validation(self) -> ValidateConfig:
        """The checks, with the types that features and cleaning need of columns for which the recipe declares none."""
        implied = {
            name: ColumnCheck(type=feature.needs)
            for feature in self.features
            if hasattr(feature, "needs")
            for name in feature.columns  # type: ignore[attr-defined]
        }
        for operation in reversed(self.cleaning):
            if hasattr(operation, "becomes"):
                # What features need is what cleaning makes of it.
                columns = getattr(operation, "columns", None) or (getattr(operation, "column", ""),)
                implied = {name: one for name, one in implied.items() if name not in columns}
                if hasattr(operation, "needs"):
                    implied |= {name: ColumnCheck(type=operation.needs) for name in columns}
        return self.checks.model_copy(update={"columns": {**implied, **self.checks.columns}})

    @property
    def model_name(self) -> str:
        """The name in the registry."""
        return self.register_as.name or self.name


def load_recipe(
    recipe: str, overrides: Iterable[str] = (), data: Path | None = None, folder: Path | None = None
) -> PipelineConfig:
    """The recipe of that name, path or address, with `key.path=value` overrides applied.

    `data` is where a relative `source.uri` is looked for first, `folder` holds the user's own recipes.

    Raises:
        ConfigError: E_CONFIG, E_SECRET_INLINE; further mistakes are in `others`.
    """
    given = list(overrides)
    _refuse([*(["recipe"] if holds_secret(recipe) else []), *in_overrides(given)])
    file = recipe_files.read(recipe_files.find(recipe, folder), folder, _check)
    for text in given:
        override(file.raw, text)
    recipe_files.placed(file, data)
    for place in file.folders:
        # A custom kind's module may lie beside the recipe that names it.
        if str(place) not in sys.path:
            sys.path.append(str(place))
    hidden = list(secrets(file.raw))
    found = leaks(hidden)
    config = None
    try:
        config = PipelineConfig.model_validate(file.raw)
    except ValidationError as error:
        found += mistakes(error, PipelineConfig, file.raw, hidden)
    raise_all(found)
    assert config is not None
    _carried(config)
    return config


def _check(text: str, place: str) -> None:
    _refuse([place] if holds_secret(text) else [])


def _refuse(places: list[str]) -> None:
    raise_all(leaks(places))


def _carried(config: PipelineConfig) -> None:
    """Find now, and not after training, that a package could not carry a module of the user's own."""
    used = (config.model, config.objective, config.target, *config.features, *config.cleaning)
    modules = custom_modules(used)
    if modules:
        private_code(modules)


def resolved(config: PipelineConfig) -> dict[str, Any]:
    """Everything that a recipe says and leaves to defaults, as plain data."""
    return config.model_dump(mode="json", by_alias=True)

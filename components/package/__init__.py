"""Checkpoint → ModelPackage: an MLflow model folder that needs nothing of this project.

Raw typed rows in, predictions out: clean's value operations, fitted features, weights, decoding and private code, with
a signature and an example. Before it is committed, it is tried in a clean process (smoke.py).
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from components.adapters.snapshot_rows import read_seen
from components.adapters.tracking_calls import quiet
from components.cleaning import KINDS as OPERATIONS
from components.cleaning.typed import typed
from components.context import RunContext
from components.contracts.artifacts import Checkpoint, Dataset, ModelPackage
from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.findings import Tryout
from components.contracts.fingerprint import digest
from components.contracts.registry import load_kind
from components.contracts.spec import Column
from components.decisions import Threshold, decision_of
from components.environments import tried_alone
from components.features import KINDS as FEATURES
from components.features.fitted import load_feature
from components.models import KINDS as MODELS
from components.objectives import KINDS as OBJECTIVES
from components.objectives.objective import target_of
from components.package.folder import save, write_model, write_parts
from components.packages import (
    PARTS,
    forget,
    kind_modules,
    library_versions,
    load_predictor,
    open_package,
    own_errors,
    private_code,
)
from components.packages import (
    PrivateCode as PrivateCode,
)
from components.predictor import FORMAT
from components.smoke import prepare, smoke

EXAMPLE_ROWS = 3


class PackageConfig(StepConfig):
    """How the package is tried before anything else is done with it."""

    environment: bool = Field(
        False,
        description="whether it is also tried in an environment made from its own requirements: minutes, the first "
        "time for each set of versions",
    )
    temperature: bool = Field(
        False,
        description="whether probabilities are softened or sharpened until those of the validation rows are right",
    )
    threshold: Threshold | None = Field(
        None, description="from which probability on the second of two classes is said; nothing: from one half on"
    )


def run(config: PackageConfig, checkpoint: Checkpoint, dataset: Dataset, *, ctx: RunContext) -> ModelPackage:
    """Assemble the package and try it.

    Raises:
        IntegrityError: E_SMOKE, the package does not answer its own example in a clean process.
    """
    code = private_code([
        *kind_modules("features", FEATURES, [fitted.config for fitted in (*dataset.features, dataset.target)]),
        *kind_modules("cleaning", OPERATIONS, dataset.clean.operations),
        *kind_modules("models", MODELS, [checkpoint.model]),
        *kind_modules("objectives", OBJECTIVES, [checkpoint.objective]),
    ])
    libraries = {**code.libraries, **library_versions()}

    def build(folder: Path) -> ModelPackage:
        prepare()
        groups = config.threshold.groups if config.threshold else ()
        model = model_data(checkpoint, dataset, groups)
        example, told = _example(dataset, ctx, groups), _told(checkpoint, dataset)
        with tempfile.TemporaryDirectory() as scratch:
            write_parts(Path(scratch), code, model, _weights(checkpoint, ctx))
            decision = _decided(Path(scratch), code.name, config, dataset, ctx)
            if decision:
                model |= {"decision": decision}
            needs = [f"{name}=={version}" for name, version in libraries.items()]
            save(Path(scratch), folder / "model", code.name, {**model, "requirements": needs, "told": told}, example)
        _note_answers(folder / "model")
        smoke(folder / "model", code.own)
        alone = _alone(folder / "model", ctx) if config.environment else None
        content = digest([code.behaviour, libraries, model, checkpoint.files["weights.safetensors"]])
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return ModelPackage(
            code=code.name,
            size_bytes=size,
            content=content,
            alone=alone,
            history=checkpoint.history,
            decision=decision,
        )

    inputs = {
        "checkpoint": checkpoint.content,
        "dataset": dataset.content,
        "private code": code.behaviour,
        "libraries": digest(libraries),
    }
    return ctx.commit(ModelPackage, __name__, config, inputs, build)


def _alone(model: Path, ctx: RunContext) -> Tryout:
    ctx.progress.advanced("package", 0, 1, "environments", "installing its requirements, minutes the first time")
    return tried_alone(model, ctx.placement.home)


def _note_answers(model: Path) -> None:
    """Keep what the package answers to its example, so that whoever loads it can tell whether it still does."""
    with quiet():
        from mlflow.models import Model

        example = Model.load(str(model)).load_input_example(str(model))
    predictor = open_package(model)
    answers = predictor.predict(predictor.table(example)).table().to_pydict()
    (model / PARTS / "golden.json").write_text(json.dumps(answers))


def _told(checkpoint: Checkpoint, dataset: Dataset) -> dict[str, pa.DataType]:
    """The columns of an answer and their types."""
    kind = load_kind("components.objectives", OBJECTIVES, checkpoint.objective, "objective")
    feature = load_feature(dataset.target)
    told: dict[str, pa.DataType] = kind.model_validate(checkpoint.objective).columns(
        target_of(feature, dataset.target.state, dataset.clean.columns)
    )
    return told


def model_data(checkpoint: Checkpoint, dataset: Dataset, groups: Sequence[str] = ()) -> dict[str, Any]:
    """What `model.json` says: everything but the weights. `groups` are columns that only its decisions look at."""
    return {
        "format": FORMAT,
        "columns": [column.model_dump(mode="json") for column in dataset.clean.columns],
        "raw": [column.model_dump(mode="json") for column in dataset.clean.valid.columns],
        "needed": [column.name for column in _asked(dataset, groups)],
        "operations": list(dataset.clean.operations),
        "features": [fitted.model_dump(mode="json") for fitted in dataset.features],
        "target": dataset.target.model_dump(mode="json"),
        "inputs": [spec.model_dump(mode="json") for spec in dataset.inputs],
        "outputs": [spec.model_dump(mode="json") for spec in dataset.outputs],
        "model": checkpoint.model,
        "objective": checkpoint.objective,
        "split": dataset.split,
    }


def _weights(checkpoint: Checkpoint, ctx: RunContext) -> Path:
    record = ctx.store.artifact("train", checkpoint.fingerprint).standing()
    return ctx.store.open(record, "weights.safetensors")


def _example(dataset: Dataset, ctx: RunContext, groups: Sequence[str]) -> pa.Table:
    """A few raw typed rows of those that cleaning keeps, complete ones first."""
    columns = _asked(dataset, groups)
    found: list[pa.Table] = []
    for part in dataset.clean.parts:
        rows = read_seen(ctx.store, "clean", part.key, [column.name for column in columns])
        found.append(rows.slice(0, 100))
        if sum(table.num_rows for table in found) >= EXAMPLE_ROWS:
            break
    joined = pa.concat_tables(found)
    whole = joined.drop_null()
    return typed((whole if whole.num_rows >= EXAMPLE_ROWS else joined).slice(0, EXAMPLE_ROWS), columns)


def _asked(dataset: Dataset, groups: Sequence[str]) -> list[Column]:
    """The columns of a request: those that the model needs, as they are before cleaning.

    Raises:
        DataError: E_COLUMN_MISSING, a group's column is none of the data's.
    """
    needed = model_inputs(dataset) | set(groups)
    known = [column.name for column in dataset.clean.valid.columns]
    for name in groups:
        if name not in known:
            raise DataError(
                "E_COLUMN_MISSING",
                "the rows have no such column",
                place="package.threshold.groups",
                value=name,
                allowed=", ".join(known),
                action="correct the name",
            )
    return [column for column in dataset.clean.valid.columns if column.name in needed]


def model_inputs(dataset: Dataset) -> set[str]:
    """The columns that the model's features read."""
    return {name for fitted in dataset.features for name in load_feature(fitted).columns}


def _decided(scratch: Path, code: str, config: PackageConfig, dataset: Dataset, ctx: RunContext) -> dict[str, Any]:
    """What the package does with its probabilities, as it stands in model.json from now on; nothing of its own."""
    if not (config.temperature or config.threshold):
        return {}
    predictor = load_predictor(scratch, code, scratch / "package")
    with own_errors("correct the data, or take package.threshold and package.temperature out"):
        found = decision_of(
            predictor, dataset, ctx.store, temperature=config.temperature, threshold=config.threshold
        ).model_dump(mode="json")
    forget(code)
    model = json.loads((scratch / "package" / "model.json").read_bytes())
    write_model(scratch, {**model, "decision": found})
    return found

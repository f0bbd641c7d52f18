"""Checkpoint → ModelPackage: an MLflow model folder that needs nothing of this project.

Raw typed rows in, predictions out: clean's value operations, fitted features, weights, decoding and private code, with
a signature and an example. Before it is committed, it is tried in a clean process (smoke.py).
"""

import json
import shutil
import sys
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
from components.contracts.findings import Tryout
from components.contracts.fingerprint import digest
from components.contracts.registry import load_kind
from components.contracts.spec import Column
from components.environments import tried_alone
from components.features import KINDS as FEATURES
from components.features.fitted import load_feature
from components.models import KINDS as MODELS
from components.objectives import KINDS as OBJECTIVES
from components.objectives.objective import target_of
from components.packages import PARTS, PrivateCode, forget, kind_modules, library_versions, open_package, private_code
from components.predictor import FORMAT
from components.smoke import prepare, smoke

EXAMPLE_ROWS = 3
SIGNATURE_TYPES = {
    "string": "string", "int64": "long", "float64": "double", "bool": "boolean", "date": "datetime",
    "timestamp": "datetime", "binary": "binary", "image": "binary", "audio": "binary",
}  # fmt: skip
"""MLflow's names of what is no list."""

OUTPUT_TYPES = {"string": "string", "int64": "long", "double": "double"}
"""MLflow's names of what answers are made of, where they are no lists."""

LOADER = '''"""Raw rows in, predictions out. Run by MLflow when the model is loaded."""

from pathlib import Path

import warnings

import mlflow

from {code}.predictor import Predictor

# MLflow advises type hints for `predict`; the signature says the types already.
with warnings.catch_warnings():
    warnings.showwarning = lambda *_, **__: None

    class Model(mlflow.pyfunc.PythonModel):
        """The package behind MLflow's interface."""

        def load_context(self, context):
            """Load the weights and the fitted state."""
            self.predictor = Predictor(Path(context.artifacts["package"]))

        def predict(self, context, model_input, params=None):
            """One row per row: column `prediction`, and what else the objective says."""
            return self.predictor.predict(self.predictor.table(model_input)).table().to_pandas()


mlflow.models.set_model(Model())
'''


class PackageConfig(StepConfig):
    """How the package is tried before anything else is done with it."""

    environment: bool = Field(
        False,
        description="whether it is also tried in an environment made from its own requirements: minutes, the first "
        "time for each set of versions",
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
        model = model_data(checkpoint, dataset)
        example, told = _example(dataset, ctx), _told(checkpoint, dataset)
        with tempfile.TemporaryDirectory() as scratch:
            _write_parts(Path(scratch), code, model, _weights(checkpoint, ctx))
            needs = [f"{name}=={version}" for name, version in libraries.items()]
            _save(Path(scratch), folder / "model", code.name, {**model, "requirements": needs, "told": told}, example)
        _note_answers(folder / "model")
        smoke(folder / "model", code.own)
        alone = _alone(folder / "model", ctx) if config.environment else None
        content = digest([code.behaviour, libraries, model, checkpoint.files["weights.safetensors"]])
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return ModelPackage(code=code.name, size_bytes=size, content=content, alone=alone, history=checkpoint.history)

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


def model_data(checkpoint: Checkpoint, dataset: Dataset) -> dict[str, Any]:
    """What `model.json` says: everything but the weights."""
    return {
        "format": FORMAT,
        "columns": [column.model_dump(mode="json") for column in dataset.clean.columns],
        "raw": [column.model_dump(mode="json") for column in dataset.clean.valid.columns],
        "needed": [column.name for column in _asked(dataset)],
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


def _example(dataset: Dataset, ctx: RunContext) -> pa.Table:
    """A few raw typed rows of those that cleaning keeps, complete ones first."""
    columns = _asked(dataset)
    found: list[pa.Table] = []
    for part in dataset.clean.parts:
        rows = read_seen(ctx.store, "clean", part.key, [column.name for column in columns])
        found.append(rows.slice(0, 100))
        if sum(table.num_rows for table in found) >= EXAMPLE_ROWS:
            break
    joined = pa.concat_tables(found)
    whole = joined.drop_null()
    return typed((whole if whole.num_rows >= EXAMPLE_ROWS else joined).slice(0, EXAMPLE_ROWS), columns)


def _asked(dataset: Dataset) -> list[Column]:
    """The columns of a request: those that the model needs, as they are before cleaning."""
    needed = model_inputs(dataset)
    return [column for column in dataset.clean.valid.columns if column.name in needed]


def model_inputs(dataset: Dataset) -> set[str]:
    """The columns that the model's features read."""
    return {name for fitted in dataset.features for name in load_feature(fitted).columns}


def _write_parts(scratch: Path, code: PrivateCode, model: dict[str, Any], weights: Path) -> None:
    for name, text in code.files.items():
        path = scratch / code.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for folder in {path.parent for path in (scratch / code.name).rglob("*.py")}:
        (folder / "__init__.py").touch()
    (scratch / "package").mkdir()
    (scratch / "package" / "model.json").write_text(json.dumps(model, indent=1))
    shutil.copyfile(weights, scratch / "package" / "weights.safetensors")
    (scratch / "loader.py").write_text(LOADER.format(code=code.name))


def _save(scratch: Path, target: Path, code: str, model: dict[str, Any], example: pa.Table) -> None:
    with quiet():
        from mlflow.models import ModelSignature
        from mlflow.pyfunc import save_model
        from mlflow.types import ColSpec, Schema
        from mlflow.types.schema import Array, DataType

    raw = {column.name: column for column in map(Column.model_validate, model["raw"])}
    asked = [raw[name] for name in model["needed"]]
    lists = {"floats": Array(DataType.double), "strings": Array(DataType.string)}
    kinds = [lists[one.type] if one.type in lists else _signature_type(one) for one in asked]
    inputs = [ColSpec(kind, one.name, required=not one.nullable) for kind, one in zip(kinds, asked, strict=True)]
    told = {
        name: Array(OUTPUT_TYPES[str(kind.value_type)]) if pa.types.is_list(kind) else OUTPUT_TYPES[str(kind)]
        for name, kind in model["told"].items()
    }
    outputs = [ColSpec(kind, name) for name, kind in told.items()]
    sys.path.insert(0, str(scratch))
    try:
        with quiet():
            save_model(
                str(target),
                python_model=str(scratch / "loader.py"),
                artifacts={"package": str(scratch / "package")},
                code_paths=[str(scratch / code)],
                signature=ModelSignature(Schema(inputs), Schema(outputs)),
                input_example=_frame(example, asked),
                pip_requirements=model["requirements"],
            )
    finally:
        sys.path.remove(str(scratch))
        forget(code)


def _signature_type(column: Column) -> str:
    """MLflow's type. A data frame holds a whole number that may be missing as a float, and MLflow would refuse it."""
    return "double" if column.type == "int64" and column.nullable else SIGNATURE_TYPES.get(column.type, "array")


def _frame(rows: pa.Table, columns: Sequence[Column]) -> Any:
    """Rows as MLflow has them in a request: times without zones, and as floats whole numbers that may be missing."""
    frame = rows.to_pandas()
    for column in columns:
        cells = frame[column.name]
        if _signature_type(column) == "double":
            frame[column.name] = cells.astype("float64")
        elif column.type == "timestamp":
            frame[column.name] = cells.dt.tz_convert(column.timezone or "UTC").dt.tz_localize(None)
    return frame

"""A package as an MLflow model folder: its files, its signature, and an example as a request has it."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.adapters.tracking_calls import quiet
from components.contracts.spec import Column
from components.packages import PrivateCode, forget

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


def write_parts(scratch: Path, code: PrivateCode, model: dict[str, Any], weights: Path) -> None:
    """The private code, model.json, the weights and the loader, below `scratch`."""
    for name, text in code.files.items():
        path = scratch / code.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for folder in {path.parent for path in (scratch / code.name).rglob("*.py")}:
        (folder / "__init__.py").touch()
    (scratch / "package").mkdir()
    write_model(scratch, model)
    shutil.copyfile(weights, scratch / "package" / "weights.safetensors")
    (scratch / "loader.py").write_text(LOADER.format(code=code.name))


def write_model(scratch: Path, model: dict[str, Any]) -> None:
    """What the package says of itself, in place of what it said."""
    (scratch / "package" / "model.json").write_text(json.dumps(model, indent=1))


def save(scratch: Path, target: Path, code: str, model: dict[str, Any], example: pa.Table) -> None:
    """Make the MLflow model folder `target` of what lies below `scratch`."""
    with quiet():
        from mlflow.models import ModelSignature
        from mlflow.pyfunc import save_model
        from mlflow.types import ColSpec, Schema
        from mlflow.types.schema import Array, DataType

    raw = {column.name: column for column in map(Column.model_validate, model["raw"])}
    asked = [raw[name] for name in model["needed"]]
    lists = {"floats": Array(DataType.double), "strings": Array(DataType.string)}
    kinds = [lists[one.type] if one.type in lists else signature_type(one) for one in asked]
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


def signature_type(column: Column) -> str:
    """MLflow's type. A data frame holds a whole number that may be missing as a float, and MLflow would refuse it."""
    return "double" if column.type == "int64" and column.nullable else SIGNATURE_TYPES.get(column.type, "array")


def _frame(rows: pa.Table, columns: Sequence[Column]) -> Any:
    """Rows as MLflow has them in a request: times without zones, and as floats whole numbers that may be missing."""
    frame = rows.to_pandas()
    for column in columns:
        cells = frame[column.name]
        if signature_type(column) == "double":
            frame[column.name] = cells.astype("float64")
        elif column.type == "timestamp":
            frame[column.name] = cells.dt.tz_convert(column.timezone or "UTC").dt.tz_localize(None)
    return frame

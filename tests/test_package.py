import json
import shutil
import subprocess
import sys
from contextlib import suppress

import mlflow
import pandas as pd
import psutil
import pyarrow as pa
import pytest

import components.smoke
from components.contracts.closure import ROOT
from components.contracts.errors import DataError, IntegrityError
from components.contracts.spec import Column
from components.models import KINDS as MODELS
from components.package.folder import signature_type
from components.packages import forget, open_package, own_errors, private_code
from components.smoke import WALL, smoke
from tests.line import packaged, table_recipe, write_table

# MLflow gives advice about type hints whenever a model is loaded.
pytestmark = pytest.mark.filterwarnings("ignore:.*Add type hints")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One package of the toy table, its dataset and its folder."""
    from components.adapters.compute import Compute
    from components.context import open_context
    from components.contracts.placement import Placement

    home = tmp_path_factory.mktemp("package")
    ctx = open_context(Placement(home=home), "toy")
    ctx.compute = Compute(workers=1, synchronous=True)
    dataset, model = packaged(table_recipe(write_table(home / "table")), ctx)
    return dataset, model, ctx.store.folder(ctx.store.artifact("package", model.fingerprint).record()) / "model"


ROWS = pd.DataFrame({"n": [1.5, -20.0, 30.0], "c": ["a", None, "new"]})


def test_mlflow_answers_as_the_predictor_does(made):
    _, _, folder = made
    answer = mlflow.pyfunc.load_model(str(folder)).predict(ROWS)
    ours = open_package(folder).predict(pa.Table.from_pandas(ROWS)).table().to_pandas()
    pd.testing.assert_frame_equal(answer, ours)
    assert set(answer["prediction"]) <= {"yes", "no"}
    assert answer["confidence"].between(0.5, 1).all()


def test_the_package_holds_no_pickle_and_no_path_of_this_machine(made):
    _, model, folder = made
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".py", ".json", ".safetensors", ".yaml", ".txt", ""}
    assert (folder / "code" / model.code / "predictor.py").is_file()
    assert sum(path.stat().st_size for path in files) < 200_000
    for path in files:
        assert str(ROOT).encode() not in path.read_bytes(), path
    signature = mlflow.models.Model.load(str(folder)).signature
    assert [(one.name, str(one.type), one.required) for one in signature.inputs] == [
        ("n", "DataType.double", True),
        ("c", "DataType.string", False),
    ]
    example = mlflow.models.Model.load(str(folder)).load_input_example(str(folder))
    assert len(example) >= 2


def test_private_code_imports_nothing_of_the_project(made):
    _, model, folder = made
    text = "".join(path.read_text() for path in (folder / "code").rglob("*.py"))
    assert "from components" not in text
    assert "import components" not in text
    assert not (folder / "code" / model.code / "models" / "cnn.py").exists(), "only the kinds in use travel"


def test_the_name_of_private_code_is_its_digest(tmp_path):
    code = private_code(["components.models.mlp"])
    assert private_code(["components.models.mlp"]) == code
    assert private_code(["components.models.cnn"]).name != code.name
    assert set(code.files) > {"predictor.py", "models/mlp.py", "models/blocks.py", "contracts/errors.py"}


def test_two_packages_of_other_code_answer_each_with_their_own_beside_the_project(made, tmp_path):
    """The second package's code always predicts with turned-over probabilities."""
    _, model, folder = made
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    renamed = "millrace_" + "0" * 12
    (other / "code" / model.code).rename(other / "code" / renamed)
    loader = other / "loader.py"
    loader.write_text(loader.read_text().replace(model.code, renamed))
    objective = other / "code" / renamed / "objectives" / "classification.py"
    text = objective.read_text()
    assert "logits.softmax(1)" in text
    objective.write_text(text.replace("logits.softmax(1)", "(1 - logits.softmax(1))"))
    import components.predictor

    first, second = (mlflow.pyfunc.load_model(str(one)) for one in (folder, other))
    ours, theirs = first.predict(ROWS), second.predict(ROWS)
    assert (ours["prediction"] != theirs["prediction"]).all()
    pd.testing.assert_frame_equal(first.predict(ROWS), ours)
    opened = [open_package(one) for one in (folder, other)]
    assert {type(one).__module__ for one in opened} == {f"{model.code}.predictor", f"{renamed}.predictor"}
    assert not any(isinstance(one, components.predictor.Predictor) for one in opened)
    forget(renamed)


def test_the_smoke_test_cannot_import_the_project(tmp_path):
    wall = WALL + "import components"
    done = subprocess.run([sys.executable, "-I", "-c", wall, str(ROOT)], capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError: components" in done.stderr
    plain = subprocess.run([sys.executable, "-I", "-c", "import components"], capture_output=True, check=False)
    assert plain.returncode == 0, "without the wall it would have been importable, so the wall is what is tested"


@pytest.mark.parametrize("harm", ["code", "weights", "state"])
def test_a_package_that_does_not_answer_is_refused(made, tmp_path, harm):
    _, model, folder = made
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    parts = broken / "artifacts" / "package"
    if harm == "code":
        (broken / "code" / model.code / "features" / "number.py").unlink()
    elif harm == "weights":
        (parts / "weights.safetensors").write_bytes(b"torn")
    else:
        data = json.loads((parts / "model.json").read_text())
        data["features"][0]["state"] = {}
        (parts / "model.json").write_text(json.dumps(data))
    with pytest.raises(IntegrityError, match=f"E_SMOKE {broken}: the package does not answer"):
        smoke(broken)


def test_a_clean_process_that_was_killed_is_started_anew(made):
    smoke(made[2])
    first = components.smoke._running.process
    first.kill()
    first.wait()
    smoke(made[2])
    assert components.smoke._running.process.pid != first.pid


def test_the_clean_process_ends_with_the_one_that_started_it(tmp_path):
    code = "import os; from components import smoke; smoke.prepare(); print(smoke._running.process.pid, flush=True)\n"
    held = subprocess.Popen([sys.executable, "-c", code + "os.kill(os.getpid(), 9)"], stdout=subprocess.PIPE, text=True)
    number = int(held.communicate()[0])
    with suppress(psutil.NoSuchProcess):
        psutil.Process(number).wait(30)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({"n": [1.0]}, "E_COLUMN_MISSING request: the model needs this column .got 'c'"),
        ({"n": ["1", "x"], "c": ["a", "a"]}, "E_ROW_REJECTED request row 2: .*n is not of type float64"),
        ({"n": [1.0], "c": ["a"], "label": pa.array([None], pa.string())}, "E_ROW_REJECTED request row 1: .*cleaning"),
    ],
)
def test_a_request_that_does_not_fit_is_one_line(made, rows, expected):
    """The error is the private code's own class, so a builtin is what a caller can catch."""
    with pytest.raises(ValueError, match=expected):
        open_package(made[2]).predict(pa.table(rows))


def test_private_code_of_every_model_is_python():
    """Its imports are written anew, wherever in a module they stand."""
    for kind, place in MODELS.items():
        for name, text in private_code([f"components.models.{place.partition(':')[0]}"]).files.items():
            compile(text, f"{kind}: {name}", "exec")


def test_errors_of_private_code_become_ours(made):
    expected = pytest.raises(DataError, match=r"E_COLUMN_MISSING request: .*got 'c'.*; name another")
    with expected, own_errors("name another"):
        open_package(made[2]).predict(pa.table({"n": [1.0]}))
    with pytest.raises(ValueError, match="^plain$"), own_errors("x"):
        raise ValueError("plain")


def test_a_whole_number_that_may_be_missing_is_a_double_to_mlflow():
    kinds = [signature_type(Column(name="n", type="int64", nullable=nullable)) for nullable in (True, False)]
    assert kinds == ["double", "long"]


def test_text_and_typed_cells_give_the_same_answer(made):
    predictor = open_package(made[2])
    typed = predictor.predict(pa.table({"n": [1.5, -3.0], "c": ["a", None]})).answers["probabilities"]
    text = predictor.predict(pa.table({"n": ["1.5", "-3"], "c": ["a", None]})).answers["probabilities"]
    assert typed.tolist() == text.tolist()
    assert (
        predictor.predict(pa.table({"n": pa.array([], pa.float64()), "c": pa.array([], pa.string())})).table().num_rows
        == 0
    )

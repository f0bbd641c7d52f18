"""Whole runs of the command: on an S3 store, and on files as the UCI gives them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from sklearn.datasets import load_iris

from components.adapters.local_files import LocalFiles
from components.adapters.store import Store
from components.packages import open_package
from tests.flows.conftest import Millrace
from tests.test_custom import write_packages

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    made = Millrace(home=folder / "home", folder=folder)
    made("setup")
    yield made
    made("down")


def test_the_digits_run_end_to_end_on_a_bucket(command, s3):
    """Every record, part and pointer is in the bucket; a machine that has nothing goes on from there."""
    place = {"MILLRACE_STORE": s3.bucket(), **s3.environment}
    first = command.run("digits-cnn", **place)
    assert (first["state"], first["metrics"]["test_accuracy"] > 0.98) == ("Completed", True)
    assert not (command.home / "store").exists()
    again = command.run("digits-cnn", **place)
    assert again["state"] == "Unchanged"
    shutil.rmtree(command.home / "cache")
    anew = command.run("digits-cnn", "--rerun", "evaluate", **place)
    assert [step["step"] for step in anew["steps"] if not step["reused"]] == ["evaluate"]
    assert anew["metrics"] == first["metrics"]
    said = command("gc", "--dry-run", **place)
    assert "1 registered models" in said.out


def test_a_recipe_with_kinds_of_ones_own_runs_from_its_folder(command, tmp_path):
    """Source and model lie in packages beside the recipe; the registered model answers without them."""
    write_packages(tmp_path)
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\nsource: {kind: custom, target: 'acme.rows:Counted', rows: 400}\n"
        "features: [{kind: number, columns: [n]}, {kind: category, columns: [c]}]\n"
        "target: {kind: label, column: label}\nmodel: {kind: custom, target: 'acme.net:Net', width: 8}\n"
        "objective: {kind: classification}\ngate: {minimum: {accuracy: 0.9}}\n"
    )
    record = command.run(str(path))
    assert (record["state"], record["steps"][0]["rows"]) == ("Completed", 400)
    code = "import mlflow\nmodel = mlflow.pyfunc.load_model('models:/own@champion')\n"
    answer = command.query(code + "print(json.dumps(model.predict(model.input_example)['prediction'].tolist()))")
    assert set(answer) <= {"yes", "no"}


def test_the_header_may_be_missing_and_the_archive_may_be_a_folder(command, tmp_path):
    """UCI's own files have no header, and a note before the first test row."""
    data = os.environ.get("MILLRACE_DATA")
    if not data:
        pytest.skip("adult-mlp reads data that are not built in: set MILLRACE_DATA")
    subprocess.run(["tar", "xzf", Path(data) / "adult.tar.gz", "-C", tmp_path], check=True)
    for name, note in (("adult.data", ""), ("adult.test", "|1x3 Cross validator\n")):
        path = tmp_path / "adult" / name
        path.write_text(note + path.read_text().split("\n", 1)[1])
    record = command.run("adult-mlp", "--set", f"source.uri={tmp_path}", "--set", "train.max_epochs=1")
    assert record["steps"][0]["rows"] == 48842
    assert record["metrics"]["test_accuracy"] > 0.8


@pytest.mark.timeout(1000)
def test_the_champion_answers_in_an_environment_made_from_its_own_requirements(command):
    """The package step tries it there, the gate says so, and MLflow's client asks it there for every row."""
    record = command.run("iris-mlp", "--set", "package.environment=true", seconds=900)
    assert record["state"] == "Completed", record["err"]
    assert any("answers its example in an environment of its own requirements" in one for one in record["checks"])
    (python,) = (command.home / "environments").glob("*/bin/python")
    assert command("up").returncode == 0
    server = json.loads(command("status", "--json").out)["services"][1]["address"]
    rows = load_iris(as_frame=True).data
    rows.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    code = (
        "import io, mlflow, pandas, sys\n"
        "rows = pandas.read_json(io.StringIO(sys.stdin.read()), orient='split')\n"
        "model = mlflow.pyfunc.load_model('models:/iris-mlp@champion')\n"
        "sys.stdout.write(model.predict(rows).to_json(orient='split', double_precision=15))\n"
    )
    clean = {"PATH": os.defpath, "HOME": str(command.folder), "MLFLOW_TRACKING_URI": server}
    asked = subprocess.run(
        [python, "-I", "-c", code],
        input=rows.to_json(orient="split", double_precision=15),
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    there = json.loads(asked.stdout)
    package = next(one["fingerprint"] for one in record["steps"] if one["step"] == "package")
    store = Store(LocalFiles(command.home / "store"))
    here = open_package(store.folder(store.artifact("package", package).record()) / "model").predict(
        pa.Table.from_pandas(rows, preserve_index=False)
    )
    assert here.table().column_names == there["columns"]
    for found, wanted in zip(there["data"], here.table().to_pylist(), strict=True):
        assert found[0] == wanted["prediction"]
        assert found[2] == pytest.approx(wanted["probabilities"], rel=1e-6)

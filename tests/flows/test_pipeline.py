import subprocess
import sys

import pytest
import yaml

from components.contracts.closure import ROOT
from components.contracts.errors import ConfigError
from flows.pipeline import load_recipe, resolved
from flows.recipe_files import SHIPPED, names
from flows.settings import export, read

GOLDEN = ROOT / "tests" / "golden"


@pytest.mark.parametrize("name", names())
def test_a_shipped_recipe_resolves_to_its_golden_text(name):
    """To accept a change: python -m tests.golden.write"""
    assert resolved(load_recipe(name)) == yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", names())
def test_a_shipped_recipe_is_short_and_says_what_it_is(name):
    text = (SHIPPED / f"{name}.yaml").read_text()
    assert len(text.splitlines()) < 60
    assert load_recipe(name).description
    assert load_recipe(name).name == name


def test_checking_recipes_imports_nothing_heavy():
    code = (
        "import sys\nfrom flows.pipeline import load_recipe\nfrom flows.recipe_files import names\n"
        "for name in names(): load_recipe(name)\n"
        "heavy = {'torch', 'dask', 'distributed', 'mlflow', 'prefect', 'sklearn', 'pytorch_lightning'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nsys.argv = ['millrace', '--help']\nfrom flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'dask', 'mlflow', 'prefect', 'pandas', 'pyarrow', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", "a key stands twice"),
        ("a: &x [1]\nb: *x\n", "aliases are not allowed"),
        ("- 1\n", "a recipe is a mapping of keys"),
        ("a: [1\n", "while parsing a flow sequence, expected ',' or ']'.* .line 2."),
        ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("a: " + "[" * 5000 + "\n", "more than 40 levels are not allowed"),
        ("a: " + "x" * 1_000_001, "larger than 1000000 bytes"),
        (b"\xff\xfe\x00", "E_CONFIG"),
    ],
)
def test_yaml_that_is_not_plain_data_is_one_line(tmp_path, text, expected):
    path = tmp_path / "r.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=expected) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_relative_source_is_looked_for_in_the_data_folder(tmp_path):
    (tmp_path / "adult.tar.gz").touch()
    assert load_recipe("adult-mlp", data=tmp_path).source.uri == str(tmp_path / "adult.tar.gz")
    other = tmp_path / "other"
    assert load_recipe("adult-mlp", data=other).source.uri == str(other / "adult.tar.gz"), (
        "what was tried is what is named"
    )
    recipe = tmp_path / "own.yaml"
    recipe.write_text((SHIPPED / "adult-mlp.yaml").read_text())
    assert load_recipe(str(recipe)).source.uri == str(tmp_path / "adult.tar.gz"), "beside the recipe"
    assert load_recipe("adult-mlp").source.uri == "adult.tar.gz"


def test_a_number_feature_declares_its_columns():
    config = load_recipe("adult-mlp", ["checks.columns={fnlwgt: {type: int64}, age: {type: int64}}"])
    kinds = {name: check.type for name, check in config.validation.columns.items()}
    assert kinds == {
        "fnlwgt": "int64",
        "age": "int64",
        "education-num": "float64",
        "hours-per-week": "float64",
        "capital-gain": "float64",
        "capital-loss": "float64",
    }


def test_settings_of_other_work_are_removed_and_ours_set(tmp_path):
    environment = {
        "PREFECT_API_KEY": "k",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "MLFLOW_TRACKING_URI": "http://other",
        "MLFLOW_TRACKING_TOKEN": "t",
        "MLFLOW_RUN_ID": "r",
        "UNRELATED": "stays",
        "NO_PROXY": "corp",
    }
    placement = read({"MILLRACE_HOME": str(tmp_path)})
    export(placement, "http://127.0.0.1:1/api", environment)
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
    assert environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert environment["UNRELATED"] == "stays"
    assert not {"PREFECT_API_KEY", "PREFECT_LOGGING_LEVEL", "MLFLOW_RUN_ID", "MLFLOW_TRACKING_TOKEN"} & set(environment)
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert environment["NO_PROXY"].split(",") == ["corp", "127.0.0.1", "localhost"]


@pytest.mark.parametrize(
    ("name", "value"), [("TRACKING_URI", "postgres://u:hunter2@h/db"), ("STORE", "s3://AKIA:hunter2@b/x")]
)
def test_a_wrong_setting_does_not_show_its_password(name, value):
    with pytest.raises(ConfigError, match=f"E_CONFIG MILLRACE_{name}: ") as caught:
        read({f"MILLRACE_{name}": value})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", ["/data/a:b", "here/a:b", "s3://bucket/a"])
def test_a_store_is_a_folder_of_any_name_or_a_bucket(value):
    assert read({"MILLRACE_STORE": value}).store.endswith(value)


@pytest.mark.parametrize("value", ["gs://bucket/a", "s3://Bucket", "http://x"])
def test_another_kind_of_store_is_one_line(value):
    with pytest.raises(ConfigError, match="E_CONFIG MILLRACE_STORE: "):
        read({"MILLRACE_STORE": value})


def test_a_folder_of_recipes_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="E_CONFIG MILLRACE_RECIPES: there is no such folder"):
        read({"MILLRACE_RECIPES": str(tmp_path / "none")})


def test_a_login_is_kept_for_a_tracking_server_that_was_set():
    environment = {"MLFLOW_TRACKING_TOKEN": "t"}
    export(read({"MILLRACE_TRACKING_URI": "http://team"}), "x", environment)
    assert (environment["MLFLOW_TRACKING_URI"], environment["MLFLOW_TRACKING_TOKEN"]) == ("http://team", "t")


def test_files_of_steps_are_found_beside_the_recipe(tmp_path):
    (tmp_path / "steps.csv").write_text("v\n1\n")
    (tmp_path / "own.yaml").write_text(
        "name: own\nsource: {kind: windows, of: {kind: files, uri: steps.csv}, values: [v], window: 2}\n"
        "features: [{kind: series, columns: [v], window: 2}]\ntarget: {kind: label, column: c}\n"
        "model: {kind: mlp}\nobjective: {kind: classification}\n"
    )
    assert load_recipe(str(tmp_path / "own.yaml")).source.of.uri == str(tmp_path / "steps.csv")

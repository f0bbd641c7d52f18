"""The commands that the README shows are run as they stand, `make test` excepted: it is running."""

import os
import re
import subprocess
import sys

import pytest
import torch

from components.contracts.closure import ROOT
from components.contracts.spec import TensorSpec
from flows.pipeline import load_recipe

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line.strip()
]


@pytest.mark.e2e
@pytest.mark.parametrize("command", [line for line in COMMANDS if line != "make test"])
def test_a_command_of_the_readme_works(millrace, command):
    if "<" in command:
        data = os.environ.get("MILLRACE_DATA")
        if not data:
            pytest.skip("shows data that are not built in: set MILLRACE_DATA")
        command = command.replace("<folder with adult.tar.gz>", data).replace(
            "<folder or archive>", f"{data}/adult.tar.gz"
        )
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=millrace.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if command == "make demo":
        for line in ("test accuracy", "version", "@champion", "report"):
            assert line in done.stderr


def test_the_readme_shows_both_commands_and_the_demo():
    assert COMMANDS[:2] == ["make demo", "make test"]
    assert len(COMMANDS) >= 7


def test_the_recipe_of_the_readme_loads_and_takes_the_model_that_it_shows(tmp_path, monkeypatch):
    text, own, pretrained, heads, windows, search = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    code, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my_models").mkdir()
    (tmp_path / "my_models" / "net.py").write_text(code)
    (tmp_path / "own.yaml").write_text(text.replace("model: {kind: mlp}\n", own))
    monkeypatch.setattr("sys.path", [*sys.path])
    model = load_recipe(str(tmp_path / "own.yaml")).model
    inputs = [TensorSpec(name="numbers", shape=(2,), dtype="float32")]
    network = model.build(inputs, [TensorSpec(name="bought", shape=(2,), dtype="float32")])
    assert network({"numbers": torch.zeros(3, 2)})["bought"].shape == (3, 2)
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    assert load_recipe(str(path)).name == "my-table"
    rest = "target: {kind: label, column: plant}\nmodel: {kind: mlp}\nobjective: {kind: classification}\n"
    path.write_text(f"name: windows\n{windows}{rest}{pretrained}")
    shown = load_recipe(str(path))
    assert (shown.split.method, shown.train.pretrained.freeze) == ("time", {"encoder": 2})
    assert len(text.splitlines()) <= 10
    kept = [line for line in text.splitlines() if not line.startswith(("target", "objective", "gate"))]
    path.write_text("\n".join(kept) + f"\n{heads}")
    shown = load_recipe(str(path))
    assert [one.name for one in shown.target.parts] == list(shown.objective.parts)
    path.write_text(search)
    assert set(load_recipe(str(path)).search.space) >= {"train.learning_rate", "model.layers.0.channels"}


@pytest.mark.e2e
def test_the_python_of_the_readme_answers(millrace, first):
    _, code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = code.replace(".millrace/", f"{millrace.home}/")
    # A bare environment: other tests of this process leave registry addresses in theirs.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=millrace.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "prediction" in done.stdout


def test_every_path_that_the_readme_names_exists():
    for name in re.findall(r"(?:components|flows|infra|tests)/[\w./-]*\w", README):
        if "*" not in name and "x.yaml" not in name:
            assert (ROOT / name).exists(), name


def test_help_lists_every_target_that_the_readme_names():
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in {*re.findall(r"make ([a-z][a-z0-9-]*)", README)}:
        assert re.search(rf"make {target}\b", listed), target

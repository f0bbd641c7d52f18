import pytest

from components.contracts.closure import follow, read_module
from components.contracts.fingerprint import code_of, fingerprint, is_cut, library_version
from components.models.cnn import Cnn, Conv
from components.models.mlp import Mlp
from components.train import TrainConfig

STEP = '''"""A step."""
from typing import TYPE_CHECKING
import json

from components.helper import assist
if TYPE_CHECKING:
    from components import typing_only

def run():
    """Run."""
    from components.late import value  # here, to be quick
    return json.dumps([assist(), value])
'''


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "components"
    folder.mkdir()
    files = {
        "__init__": "",
        "step": STEP,
        "helper": "def assist():\n    return 1\n",
        "late": "value = 1\n",
        "typing_only": "import torch\n",
        "unrelated": "x = 1\n",
    }
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return tmp_path


def digests(project):
    return {name: source.digest for name, source in follow(["components.step"], lambda _: False, project).items()}


def test_imports_are_followed_also_inside_functions_but_not_for_types(project):
    assert set(digests(project)) == {"components", "components.step", "components.helper", "components.late"}
    assert read_module("components.step", project).libraries == {"json", "typing"}


@pytest.mark.parametrize(
    ("name", "old", "new", "changes"),
    [
        ("step", "# here, to be quick", "# elsewhere", False),
        ("step", '"""Run."""', '"""Runs."""', False),
        ("step", "assist(), value", "value, assist()", True),
        ("helper", "return 1", "return 2", True),
        ("late", "value = 1", "value = 2", True),
        ("unrelated", "x = 1", "x = 2", False),
        ("typing_only", "import torch", "import numpy", False),
    ],
)
def test_only_code_that_runs_changes_the_digest(project, name, old, new, changes):
    before = digests(project)
    path = project / "components" / f"{name}.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new) + "\n")
    assert (digests(project) != before) is changes


def test_a_step_hangs_on_the_kinds_that_its_config_uses():
    cnn = TrainConfig(model=Cnn(layers=(Conv(channels=1),)), objective=Mlp())
    code = {"components.train"}
    with_cnn = code_of("components.train", cnn)
    without = code_of("components.train", TrainConfig(model=Mlp(), objective=Mlp()))
    assert with_cnn.digest != without.digest, code
    assert {"pytorch_lightning", "torch", "pydantic"} <= set(with_cnn.libraries)


def test_a_new_kind_in_a_registry_changes_no_step():
    assert "components.features" not in follow(["components.preprocess"], is_cut)
    assert "components.features.feature" in follow(["components.preprocess"], is_cut)


def test_versions_leave_the_local_part_out():
    assert "+" not in library_version("torch")
    assert library_version("PIL")[0].isdigit()
    assert library_version("no_such_library") == "absent"


def test_a_change_is_named():
    code = code_of("components.gate", None)
    old = fingerprint("train", Mlp(hidden=(8,)), {"dataset": "a"}, code, formats={})
    new = fingerprint("train", Mlp(hidden=(9,)), {"dataset": "b"}, code, formats={})
    assert old.key != new.key
    assert new.changes_since(None) == "first run"
    assert old.changes_since(old.model_dump(mode="json")) == "its result was gone"
    assert new.changes_since(old.model_dump(mode="json")) == "config.hidden [8] → [9], input.dataset changed"
    counted = fingerprint("train", Mlp(hidden=(8,)), {"dataset": "a"}, code, formats={}, rerun=1)
    assert counted.changes_since(old.model_dump(mode="json")) == "rerun asked changed"

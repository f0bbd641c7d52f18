"""A model and a source from a package outside the project: they train, travel in the package, and count as code."""

import subprocess
import sys

import pytest

from components.contracts.closure import own_root
from components.contracts.errors import ConfigError
from components.contracts.registry import load_kind
from components.models import KINDS
from components.packages import private_code
from components.validate import ValidateConfig
from tests.line import packaged, ran, table_recipe, trained

NET = '''"""Two layers."""

from typing import Any

from pydantic import Field

from acme_layers.blocks import scaled
from components.contracts.config import CustomConfig


class Net(CustomConfig):
    width: int = Field(4, ge=1, description="of the hidden layer")

    def build(self, inputs, outputs) -> Any:
        from torch import nn

        from components.models.blocks import Joined, Keyed, joined_width

        trunk = nn.Sequential(nn.Linear(joined_width(inputs, 4), scaled(self.width)), nn.Tanh())
        return Keyed(Joined(inputs, 4, trunk), scaled(self.width), outputs)


class Half(CustomConfig):
    """No `build`."""


class Plain:
    pass
'''

SOURCE = '''"""Rows out of nothing: n, c and a label that follows from them."""

import pyarrow as pa

from components.contracts.config import CustomConfig
from components.contracts.spec import Column
from components.sources.partition import Partition, Rows


class Counted(CustomConfig):
    rows: int = 240

    def version(self, digest_of):
        return str(self.rows)

    def columns(self):
        return (Column(name="n", type="float64"), Column(name="c", type="string"), Column(name="label", type="string"))

    def partitions(self, digest_of, scratch):
        return [Partition(place="counted", version=str(self.rows), size_bytes=8 * self.rows)]

    def read(self, partition):
        n = [float(row % 17) for row in range(self.rows)]
        table = pa.table({"n": n, "c": ["ab"[row % 2] for row in range(self.rows)], "label": ["no" if x < 8 else "yes" for x in n]})
        return Rows(table=table, numbers=pa.array(range(1, self.rows + 1)))
'''


def write_packages(folder):
    """A user's two packages."""
    files = {
        "acme/__init__.py": "",
        "acme/net.py": NET,
        "acme/rows.py": SOURCE,
        "acme/other.py": "x = 1\n",
        "acme_layers/__init__.py": "",
        "acme_layers/blocks.py": "def scaled(width):\n    return 2 * width\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """The packages, importable for the length of a test."""
    folder = tmp_path / "elsewhere"
    write_packages(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [one for one in sys.modules if one.partition(".")[0] in {"acme", "acme_layers"}]:
        del sys.modules[name]


def custom(package, target, **fields):
    config = {"kind": "custom", "target": target, **fields}
    return load_kind(f"components.{package}", KINDS, config, package).model_validate(config)


def recipe(folder, **changes):
    settings = {
        "source": custom("sources", "acme.rows:Counted"),
        "checks": ValidateConfig(),
        "cleaning": (),
        "model": custom("models", "acme.net:Net"),
    }
    return table_recipe(folder, **(settings | changes))


def test_a_model_and_a_source_of_ones_own_go_the_whole_way(acme, ctx):
    """Trained in a child, packaged, and answered in a process that cannot import the user's packages."""
    _, model = packaged(recipe(acme), ctx)
    folder = ctx.store.folder(ctx.store.artifact("package", model.fingerprint).record()) / "model"
    code = folder / "code" / model.code / "own"
    assert (code / "acme" / "net.py").is_file()
    assert (code / "acme_layers" / "blocks.py").is_file()
    assert not (code / "acme" / "other.py").exists()
    assert "from ...own.acme_layers.blocks import scaled" in (code / "acme" / "net.py").read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("acme_layers/blocks.py", "2 * width", "3 * width", ["train"]),
        ("acme/net.py", "nn.Tanh", "nn.ReLU", ["train"]),
        ("acme/rows.py", "row % 17", "row % 16", ["ingest", "validate", "clean", "preprocess", "train"]),
        ("acme/other.py", "x = 1", "x = 2", []),
        ("acme/net.py", "Two layers.", "Two of them.", []),
    ],
)
def test_an_edit_of_ones_own_module_runs_what_hangs_on_it(acme, ctx, file, old, new, expected):
    """The code fingerprints of every step before and after; what runs follows from them."""
    from components.contracts.fingerprint import code_of
    from components.ingest import IngestConfig
    from components.train import TrainConfig

    def codes():
        made = recipe(acme)
        return {
            "ingest": code_of("components.ingest", IngestConfig(source=made.source)).digest,
            "train": code_of("components.train", TrainConfig(model=made.model, objective=made.target)).digest,
        }

    before = codes()
    path = acme / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new) + "\n")
    changed = [step for step, digest in codes().items() if digest != before[step]]
    assert changed == [step for step in expected if step in before and (step != "train" or "ingest" not in expected)]


def test_an_edited_model_of_ones_own_trains_again(acme, ctx):
    trained(recipe(acme), ctx)
    ran(ctx)
    path = acme / "acme_layers" / "blocks.py"
    path.write_text(path.read_text().replace("2 * width", "3 * width"))
    trained(recipe(acme), ctx)
    assert (ctx.outcomes[-1].why, ran(ctx)) == ("code changed", ["train"])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, "a custom kind needs a target of the form package.module:Class"),
        ("acme.net", "a custom kind needs a target"),
        ("acme.nett:Net", r"its module cannot be imported \(ModuleNotFoundError: No module named 'acme.nett'\)"),
        ("acme.net:Ned", "its module has no such class; nearest: Net"),
        ("acme.net:Plain", "it is not a subclass of components.contracts.config.CustomConfig"),
        ("acme.net:Half", "it lacks what models offer: build"),
    ],
)
def test_a_target_that_cannot_be_used_is_one_line(acme, target, expected):
    with pytest.raises(ConfigError, match=f"E_CONFIG models.target: {expected}"):
        custom("models", target)


@pytest.mark.parametrize(
    "text", ["import acme_layers.blocks\n", "import json\nimport components.contracts.spec as s\n"]
)
def test_an_import_that_a_package_cannot_carry_is_one_line(acme, text):
    (acme / "acme" / "bad.py").write_text(text)
    with pytest.raises(
        ConfigError, match=r"bad.py:\d: a module that has to travel .* is imported in a way .*write it as"
    ):
        private_code(["acme.bad"])


def test_imports_are_made_relative_however_they_are_written(acme):
    (acme / "acme" / "odd.py").write_bytes(
        b"\xef\xbb\xbffrom json import loads; from acme.other import x\n"
        b"from acme_layers.blocks import (\n    scaled,\n)\nfrom acme \\\n    import net\n\n\n"
        b"def late():\n    from components.contracts.spec import Column as C; from acme import other as o\n    return C, o\n"
    )
    assert private_code(["acme.odd"]).files["own/acme/odd.py"].splitlines() == [
        "from json import loads; from ...own.acme.other import x",
        "from ...own.acme_layers.blocks import scaled",
        "from ...own.acme import net",
        "",
        "",
        "def late():",
        "    from ...contracts.spec import Column as C; from ...own.acme import other as o",
        "    return C, o",
    ]


def test_a_folder_without_an_init_and_a_target_that_is_only_imported_travel_too(acme, ctx):
    (acme / "bare").mkdir()
    (acme / "bare" / "net.py").write_text(NET)
    (acme / "acme" / "api.py").write_text("from bare.net import Net\n\n__all__ = ['Net']\n")
    _, model = packaged(recipe(acme, model=custom("models", "acme.api:Net")), ctx)
    folder = ctx.store.folder(ctx.store.artifact("package", model.fingerprint).record()) / "model"
    assert (folder / "code" / model.code / "own" / "acme" / "api.py").is_file()
    assert (folder / "code" / model.code / "own" / "bare" / "net.py").is_file()


def test_installed_libraries_and_python_are_nobodys_own():
    assert [own_root(name) for name in ("numpy", "json", "components", "no_such_package")] == [None] * 4


def test_what_the_users_modules_import_is_required_by_the_package(acme):
    (acme / "acme" / "more.py").write_text("import yaml\nfrom sklearn import svm\n")
    code = private_code(["acme.more"])
    assert set(code.libraries) == {"pyyaml", "scikit-learn"}
    assert subprocess.run([sys.executable, "-c", "import yaml"], check=True).returncode == 0


def test_a_module_that_moved_is_found_where_it_is_now(tmp_path, monkeypatch):
    """As in a notebook whose user moves a file and imports it again."""
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "moved_net.py").write_text(f"WHERE = {name!r}\n")
    monkeypatch.syspath_prepend(str(tmp_path / "before"))
    assert own_root("moved_net") == tmp_path / "before"
    monkeypatch.setattr(sys, "path", [str(tmp_path / "after"), *sys.path[1:]])
    assert own_root("moved_net") == tmp_path / "after"

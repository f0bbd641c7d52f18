"""The mutation matrix of the cache: what a change must run again, what it may not, and the reason that is printed.

Each case edits a copy of the project, of its data or of its home, and runs the whole toy line in a process of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.contracts.closure import ROOT
from tests.conftest import REPORTS
from tests.line import write_table

pytestmark = pytest.mark.e2e

STEPS = ["ingest", "validate", "clean", "preprocess", "train", "package", "evaluate", "gate", "register"]
NET = '''"""A user's model."""

from acme.width import WIDTH
from components.contracts.config import CustomConfig


class Net(CustomConfig):
    def build(self, inputs, outputs):
        from torch import nn

        from components.models.blocks import Joined, Keyed, joined_width

        return Keyed(Joined(inputs, 4, nn.Linear(joined_width(inputs, 4), WIDTH)), WIDTH, outputs)
'''


def run(folder, **changes):
    """The outcomes of the line in the copy at `folder`."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{folder / 'own'}:{folder}", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-B", "-W", "ignore", "-m", "tests.e2e.matrix_line", str(folder), json.dumps(changes)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A copy of the project in which the line ran once."""
    folder = tmp_path_factory.mktemp("base")
    for name in ("components", "flows"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "line.py", "e2e/__init__.py", "e2e/matrix_line.py"):
        (folder / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / "tests" / name, folder / "tests" / name)
    write_table(folder / "table")
    for name, text in {"__init__": "", "net": NET, "width": "WIDTH = 8\n"}.items():
        (folder / "own" / "acme").mkdir(parents=True, exist_ok=True)
        (folder / "own" / "acme" / f"{name}.py").write_text(text)
    outcomes = run(folder)
    assert [(step, reused) for step, reused, _ in outcomes] == [(step, False) for step in STEPS]
    return folder


def edit(name, old, new):
    def change(folder):
        path = folder / name
        text = path.read_text()
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new, 1))

    return change


def add(name, text):
    return lambda folder: (folder / name).write_text(text)


def move_and_touch(folder):
    moved = (folder / "table").rename(folder / "moved")
    for path in moved.iterdir():
        os.utime(path, (1, 1))


def other_release(folder):
    """A newer pytorch-lightning, by its metadata."""
    info = folder / "own" / "pytorch_lightning-99.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pytorch-lightning\nVersion: 99.0\n")


def another_champion(folder):
    assert run(folder, epochs=6)[-1][1:] == [
        False,
        "version 2 registered, challenger, champion moved from version 1 to 2",
    ]


def no_database(folder):
    (folder / "home" / "mlflow" / "mlflow.db").unlink()


def several(*changes):
    return lambda folder: [change(folder) for change in changes]


ALL = STEPS
LEARNED = ["train", "package", "evaluate", "gate", "register"]

CASES = [
    # what changes, how, settings of the second run, what must run, why its first step ran
    ("helper function edited", edit("components/sources/paths.py", "[:10_000]", "[:9_999]"), {}, ["ingest"], "code changed"),
    ("input bytes changed", edit("table/1.csv", "\n", "\n" + "".join(f"{n}.25,a,yes.\n" for n in range(9))), {}, ALL, "input.source changed"),
    ("file moved and touched", move_and_touch, {"table": "moved"}, [], ""),
    ("parameter changed", None, {"epochs": 6}, LEARNED, "config.settings.max_epochs 3 → 6 changed"),
    ("placement changed", None, {"accelerator": "cpu"}, [], ""),
    ("library version changed", other_release, {}, ["train"], "library.pytorch_lightning"),
    ("upstream output changed", None, {"maximum": 20}, ALL[1:], "config.columns.n.maximum"),
    ("comment and docstring edited", several(edit("components/clean.py", '"""ValidSnapshot', '"""The ValidSnapshot'), edit("components/train/worker.py", "# Weights are the same", "# All weights are the same")), {}, [], ""),
    ("unrelated source and model added", several(add("components/models/other.py", "class Other: pass\n"), add("components/sources/other.py", "x = 1\n"), edit("components/models/__init__.py", '"mlp"', '"other": "other:Other",\n    "mlp"')), {}, [], ""),
    ("import inside a function edited", edit("components/models/blocks.py", "(size + 1) // 2", "(1 + size) // 2"), {}, LEARNED, "code changed"),
    ("train.worker edited", edit("components/train/worker.py", "+ 1 + ranks.rank", "+ 2 + ranks.rank"), {}, ["train"], "code changed"),
    ("error text and tracking adapter edited", several(edit("components/contracts/errors.py", "the file system reported an error", "an error was reported"), edit("components/adapters/tracking.py", "import ", "import zlib\nimport ")), {}, [], ""),
    ("clean refactored, equal output", edit("components/clean.py", "size = valid.rows * 100", "size = 100 * valid.rows"), {}, ["clean"], "code changed"),
    ("own module edited", edit("own/acme/width.py", "8", "9"), {}, LEARNED, "code changed"),
    ("champion changed", another_champion, {}, ["evaluate", "gate", "register"], "input.champion"),
    ("MLflow database deleted", no_database, {}, ["register"], "version 1 registered"),
    ("nothing changed", None, {}, [], ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "settings", "expected", "why"), CASES, ids=[case[0] for case in CASES])
def test_a_change_runs_what_depends_on_it_and_nothing_else(base, tmp_path, name, change, settings, expected, why):
    folder = tmp_path / "copy"
    shutil.copytree(base, folder)
    if change is not None:
        change(folder)
    outcomes = run(folder, **settings)
    ran = [step for step, reused, _ in outcomes if not reused]
    line = {"change": name, "ran": ran, "why": {step: said for step, reused, said in outcomes if not reused}}
    REPORTS.mkdir(exist_ok=True)
    with Path(REPORTS / "matrix.jsonl").open("a") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    assert ran == expected, line
    if ran:
        assert why in line["why"][ran[0]], line
    assert all(said for _, _, said in outcomes)

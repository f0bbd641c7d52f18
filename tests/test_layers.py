"""The architecture as tests: the contracts hold, and each of them fails when it is broken on purpose."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.contracts.closure import ROOT

LINT = Path(sys.executable).with_name("lint-imports")


def lint(folder):
    return subprocess.run(
        [LINT, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layers")
    for name in ("components", "flows"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_every_contract_holds(copy):
    done = lint(copy)
    assert "0 broken" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("components/adapters/store.py", "import components.context", "Layers"),
        ("components/statistics/keys.py", "import components.features.number", "Layers"),
        ("components/clean.py", "import components.validate", "Steps never import each other"),
        ("components/features/number.py", "import components.models.mlp", "Sources, cleaning, features"),
        ("components/gate.py", "import flows.settings", "Components do not know flows"),
        ("components/ingest.py", "def late():\n    import prefect", "Only flows know Prefect"),
        ("components/models/mlp.py", "import pytorch_lightning", "Only train knows Lightning"),
        ("components/contracts/spec.py", "import numpy", "Contracts are light"),
        ("flows/settings.py", "import flows.launch", "Flows"),
        ("components/nowhere.py", "x = 1", "Layers"),
    ],
)
def test_a_broken_contract_fails(copy, module, line, contract):
    path = copy / module
    before = path.read_text() if path.exists() else None
    path.write_text((before or "") + f"\n{line}\n")
    try:
        done = lint(copy)
        assert done.returncode != 0
        assert any(row.startswith(contract) and "BROKEN" in row for row in done.stdout.splitlines()) or (
            before is None and "nowhere" in done.stdout
        ), done.stdout
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before)


def test_no_file_is_longer_than_three_hundred_lines():
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("components", "flows")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert not long


def test_only_settings_reads_environment_variables_of_ours():
    readers = {
        str(path.relative_to(ROOT))
        for folder in ("components", "flows")
        for path in (ROOT / folder).rglob("*.py")
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    }
    # MLflow's progress bar can be switched off, torchrun be told and heard, and CUDA's choice of GPUs be known, in no
    # other way.
    assert readers <= {
        "flows/settings.py",
        "components/adapters/tracking_calls.py",
        "components/adapters/secrets.py",
        "components/train/torchrun.py",
        "components/train/devices.py",
    }

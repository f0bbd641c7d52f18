"""What is installed is what the lock says, and the lock is what pyproject asks for."""

import re
import runpy
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from components.contracts.closure import ROOT

LOCKS = ROOT / "infra" / "locks"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def lock():
    return pins(LOCKS / "py311.txt") | pins(LOCKS / "torch.txt")


def pins(path):
    return {canonicalize_name(name): version for name, version in PIN.findall(path.read_text())}


def test_everything_installed_is_locked_at_that_version(lock):
    installed = {
        canonicalize_name(one.metadata["Name"]): one.version.partition("+")[0] for one in metadata.distributions()
    }
    installed.pop("millrace")
    assert installed == lock


def test_every_locked_package_has_hashes():
    blocks = re.split(r"\n(?=\S)", (LOCKS / "py311.txt").read_text().strip())
    assert len(blocks) > 150
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


UNTRIED = {"gs", "azure"}
"""Extras that no test could run: the lock holds what was tried."""


def test_the_lock_satisfies_every_range_of_pyproject(lock):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = [
        *project["dependencies"],
        *(line for name, group in project["optional-dependencies"].items() if name not in UNTRIED for line in group),
    ]
    lock = lock | pins(ROOT / "infra" / "docker" / "pools.txt")
    for text in ranges:
        wanted = Requirement(text)
        assert wanted.specifier.contains(lock[canonicalize_name(wanted.name)]), text


def test_what_only_workers_of_other_pools_need_fits_the_lock_and_is_not_in_it(lock):
    path = ROOT / "infra" / "docker" / "pools.txt"
    assert {"prefect-docker", "prefect-kubernetes"} <= set(pins(path))
    assert not set(pins(path)) & set(lock)
    assert path.read_text().count("--hash=sha256:") >= len(pins(path))


def test_torch_is_alone_in_its_file_and_not_in_the_other(lock):
    assert PIN.findall((LOCKS / "torch.txt").read_text()) == [("torch", lock["torch"])]
    assert not re.search(
        r"^(torch|nvidia|triton|torchvision|torchaudio)\b.*==", (LOCKS / "py311.txt").read_text(), re.MULTILINE
    )


def test_every_range_gives_its_reason():
    lines = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[0].splitlines()
    start = lines.index("dependencies = [")
    ranges = lines[start + 1 : lines.index("]", start)]
    assert all(re.search(r'",\s+# \w', line) for line in ranges)


@pytest.mark.parametrize(("attribute", "value"), [("platform", "darwin"), ("version_info", (3, 12, 1))])
def test_another_platform_gets_one_clear_line(monkeypatch, attribute, value):
    monkeypatch.setattr(sys, attribute, value)
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(LOCKS / "check_platform.py"))
    assert str(caught.value).startswith("E_PLATFORM: ")
    assert "the lock in infra/locks is for CPython 3.11 on linux x86_64" in str(caught.value)


def test_this_platform_passes():
    runpy.run_path(str(LOCKS / "check_platform.py"))

"""Trying a package in an environment of its own, made from nothing but the requirements that it names.

Environments are kept by what they require, below the home folder, and shared by packages that require the same.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from components.contracts.errors import EnvironmentFault
from components.contracts.findings import Tryout
from components.contracts.fingerprint import digest
from components.smoke import TRY

INSTALL_SECONDS, TRY_SECONDS = 3600.0, 600.0
READY = ".ready"


def tried_alone(model: Path, home: Path) -> Tryout:
    """How the MLflow model folder does in an environment made from its requirements.txt.

    It is loaded and has to answer its own example as it did when it was made. The first time for a set of requirements
    takes minutes, since they are installed; pip's own settings say from where.

    Raises:
        EnvironmentFault: E_REQUIREMENTS, the environment could not be made, which says nothing of the package.
    """
    began = time.perf_counter()
    try:
        python = _environment(model / "requirements.txt", home)
    except (subprocess.SubprocessError, OSError) as error:
        raise EnvironmentFault(
            "E_REQUIREMENTS",
            f"the environment of the package's requirements could not be made: {_last(error)}",
            place="package.environment",
            action="see that pip reaches its index and the disk has room (some 2 GB), then run the same command again",
        ) from error
    try:
        _call([str(python), "-I", "-B", "-c", f"{TRY}\nimport sys\nanswers(sys.argv[1])", str(model.absolute())],
              TRY_SECONDS, _clean(python))  # fmt: skip
    except subprocess.SubprocessError as error:
        return Tryout(passed=False, seconds=round(time.perf_counter() - began, 1), said=_last(error))
    return Tryout(passed=True, seconds=round(time.perf_counter() - began, 1))


def _last(error: Exception) -> str:
    """The last line of what a process said, or of the error."""
    said = getattr(error, "output", "") or str(error)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _environment(requirements: Path, home: Path) -> Path:
    """Its Python; made by one process, while others wait."""
    folder = home / "environments" / digest([requirements.read_text(encoding="utf-8"), sys.version])[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / READY).exists():
            # Garbage collection removes those that nobody has used for long.
            (folder / READY).touch()
            return python
        shutil.rmtree(folder, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(folder)], INSTALL_SECONDS, None)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(requirements)]
        _call(install, INSTALL_SECONDS, None)
        (folder / READY).touch()
    return python


def _clean(python: Path) -> dict[str, str]:
    """Nothing of this process's settings."""
    return {
        "PATH": os.defpath,
        "HOME": str(python.parents[1]),
        "MLFLOW_TRACKING_URI": "sqlite:///:memory:",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _call(command: list[str], seconds: float, environment: dict[str, str] | None) -> None:
    subprocess.run(
        command,
        check=True,
        env=environment,
        timeout=seconds,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )

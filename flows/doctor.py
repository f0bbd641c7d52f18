"""Whether this machine and its settings can run a recipe: every check with its state, and what to do where it fails.

Starts nothing, and shows no password: addresses lose theirs.
"""

import importlib.util
import platform
import re
import shutil
import socket
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from components.adapters.local_files import as_fault
from components.contracts.closure import ROOT
from components.contracts.config import Frozen
from components.contracts.errors import EnvironmentFault, MillraceError, masked
from components.contracts.placement import Placement
from components.train.devices import gpus
from flows import mlflow_server, server

LOCKS = ROOT / "infra" / "locks"
LOW_BYTES = 5e9
CONNECT_SECONDS = 3.0


class Check(Frozen):
    """One question and its answer."""

    name: str
    state: Literal["ok", "warning", "failed"]
    said: str
    fix: str = ""


class Diagnosis(Frozen):
    """What `millrace doctor --json` prints."""

    profile: str
    settings: dict[str, str]
    versions: dict[str, str] = Field(description="installed releases of what the lock names first")
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing failed."""
        return all(check.state != "failed" for check in self.checks)


def diagnose(placement: Placement) -> Diagnosis:
    """Every check at `placement`."""
    questions: dict[str, Callable[[], Check]] = {
        "platform": _platform,
        "lock": _lock,
        "home": lambda: _home(placement),
        "store": lambda: _store(placement),
        "tracking": lambda: _tracking(placement),
        "prefect": lambda: _prefect(placement),
        "dask": lambda: _dask(placement),
        "data": lambda: _data(placement),
        "devices": _devices,
        "extras": _extras,
    }
    checks = []
    for name, ask in questions.items():
        try:
            checks.append(ask())
        except MillraceError as error:
            checks.append(
                Check(name=name, state="failed", said=masked(f"{error.code}: {error.what}"), fix=error.action)
            )
        except OSError as error:
            fault = as_fault(error, error.filename or "")
            said, fix = (fault.what, fault.action) if fault else (str(error), "look into it")
            checks.append(Check(name=name, state="failed", said=masked(said), fix=fix))
    wanted = ("prefect", "mlflow", "pytorch-lightning", "torch", "dask", "s3fs", "pydantic", "pyarrow")
    return Diagnosis(
        profile=placement.profile,
        settings=_settings(placement),
        versions={name: metadata.version(name) for name in wanted},
        checks=tuple(checks),
    )


def _settings(placement: Placement) -> dict[str, str]:
    shown = {
        "home": placement.home,
        "store": placement.store_place,
        "cache_gb": placement.cache_gb if placement.store_folder is None else "not used",
        "tracking_uri": placement.tracking,
        "prefect_api_url": placement.prefect_api_url or "a local server",
        "mlflow_port": placement.mlflow_port or f"{mlflow_server.DEFAULT_PORT} or the next free one",
        "prefect_port": placement.prefect_port or f"{server.DEFAULT_PORT} or the next free one",
        "dask_address": placement.dask_address or "threads and processes here",
        "data": placement.data or "not set",
        "recipes": placement.recipes or "not set",
    }
    return {name: masked(str(value)) for name, value in shown.items()}


def _platform() -> Check:
    said = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    fits = sys.version_info[:2] == (3, 11) and (platform.system(), platform.machine()) == ("Linux", "x86_64")
    fix = "the lock is for CPython 3.11 on Linux x86-64; elsewhere install the ranges of pyproject.toml"
    return Check(name="platform", state="ok" if fits else "warning", said=said, fix="" if fits else fix)


def _lock() -> Check:
    locked = {
        name: version.partition("+")[0]
        for path in sorted(LOCKS.glob("*.txt"))
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE)
    }
    other = []
    for name, version in locked.items():
        try:
            found = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            found = "absent"
        if found != version:
            other.append(f"{name} {found} instead of {version}")
    if not other:
        return Check(name="lock", state="ok", said=f"{len(locked)} packages as locked")
    said = f"{len(other)} of {len(locked)} packages differ: {', '.join(other[:5])}"
    return Check(name="lock", state="warning", said=said, fix="make install")


def _home(placement: Placement) -> Check:
    placement.home.mkdir(parents=True, exist_ok=True)
    probe = placement.home / ".doctor"
    probe.write_bytes(b"")
    probe.unlink()
    free = shutil.disk_usage(placement.home).free
    said = f"{placement.home} can be written, {free / 1e9:.1f} GB free"
    if free < LOW_BYTES:
        return Check(name="home", state="warning", said=said, fix="free space, or set MILLRACE_HOME to another disk")
    return Check(name="home", state="ok", said=said)


def _store(placement: Placement) -> Check:
    from components.adapters.stores import open_store

    files = open_store(placement).files
    steps = [name for name in files.names("") if name[0] != "." and name != "pointers"]
    said = f"{masked(placement.store_place)} answers, {len(steps)} steps have results"
    return Check(name="store", state="ok", said=said)


def _tracking(placement: Placement) -> Check:
    mlflow_server.check_tracking(placement)
    address = masked(placement.tracking)
    if not placement.tracking_uri and not (placement.home / "mlflow" / "mlflow.db").is_file():
        said = "the local database is not made yet"
        return Check(name="tracking", state="warning", said=said, fix="the first run makes it, or `millrace setup`")
    return Check(name="tracking", state="ok", said=address)


def _prefect(placement: Placement) -> Check:
    if placement.prefect_api_url:
        server.wait(placement, server.ensure(placement))
        return Check(name="prefect", state="ok", said=f"{masked(placement.prefect_api_url)} answers")
    running = server.find(placement)
    if running is None:
        return Check(name="prefect", state="ok", said="no local server is up; the next run starts one")
    if not server.answers(running):
        raise EnvironmentFault(
            "E_SERVER_UNREACHABLE", f"the local server at {running.address} does not answer", action="millrace down"
        )
    return Check(name="prefect", state="ok", said=f"the local server at {running.address} answers")


def _dask(placement: Placement) -> Check:
    if not placement.dask_address:
        return Check(name="dask", state="ok", said="partitions run here, in threads or processes")
    where = urlsplit(placement.dask_address)
    try:
        socket.create_connection((where.hostname or "", where.port or 8786), CONNECT_SECONDS).close()
    except (OSError, ValueError):
        fix = "start that scheduler, or unset MILLRACE_DASK_ADDRESS"
        said = f"no scheduler answers at {masked(placement.dask_address)}"
        return Check(name="dask", state="failed", said=said, fix=fix)
    return Check(name="dask", state="ok", said=f"{masked(placement.dask_address)} answers")


def _data(placement: Placement) -> Check:
    if placement.data is None:
        said = "MILLRACE_DATA is not set; recipes on built-in data need none"
        return Check(name="data", state="ok", said=said)
    if not placement.data.is_dir():
        return Check(name="data", state="failed", said=f"{placement.data} is no folder", fix="correct MILLRACE_DATA")
    return Check(name="data", state="ok", said=f"{placement.data}, {len(list(placement.data.iterdir()))} files")


def _devices() -> Check:
    return Check(name="devices", state="ok", said=", ".join(gpus()) or "no GPU; training runs on the CPU")


def _extras() -> Check:
    there = importlib.util.find_spec("simplejpeg") is not None
    said = "vision (simplejpeg) is installed" if there else "vision (simplejpeg) is not installed; Pillow decodes"
    return Check(name="extras", state="ok", said=said)

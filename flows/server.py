"""The local profile's own Prefect server: started by the first command, found again by later ones, ended by `down`.

It listens on loopback, takes requests from its own pages only (CORS) and asks for a CSRF token: Prefect's defaults
would let any web page that the user opens create and run a deployment.
"""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from components.contracts.closure import ROOT
from components.contracts.errors import EnvironmentFault
from components.contracts.placement import Placement
from flows.settings import prefect_settings

DEFAULT_PORT = 4200
PORTS_TRIED = 50
START_SECONDS = 120.0
STOP_SECONDS = 10.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server. `started` is True for the command that started it."""

    address: str
    process: int
    started: bool

    @property
    def api_url(self) -> str:
        """Where clients talk to it."""
        return f"{self.address}/api"


def ensure(placement: Placement) -> Server:
    """The running server of this placement, started now if there is none; it may not answer yet, see `wait`.

    Raises:
        EnvironmentFault: E_PORT_TAKEN, the port that was set is in use; E_SERVER_UNREACHABLE, the server that was set
            does not answer.
    """
    if placement.prefect_api_url:
        address = placement.prefect_api_url.rstrip("/").removesuffix("/api")
        server = Server(address=address, process=0, started=False)
        if not answers(server):
            raise EnvironmentFault(
                "E_SERVER_UNREACHABLE",
                "no Prefect server answers there",
                place="MILLRACE_PREFECT_API_URL",
                value=placement.prefect_api_url,
                action="start that server, or unset the variable to use a local one",
            )
        return server
    with _lock(placement):
        running = find(placement)
        return running or _spawn(placement)


def find(placement: Placement) -> Server | None:
    """The server that an earlier command left running, or None. A process that only reuses its number is not it."""
    try:
        said = json.loads(_state_file(placement).read_bytes())
        process = psutil.Process(said["process"])
        if abs(process.create_time() - said["created"]) < 1 and process.status() != psutil.STATUS_ZOMBIE:
            return Server(address=said["address"], process=said["process"], started=False)
    except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
        pass
    return None


def wait(placement: Placement, server: Server) -> None:
    """Return when the server answers.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, it ended or took too long; E_SERVER_VERSION, it is another release.
    """
    end = time.monotonic() + START_SECONDS
    while not answers(server):
        if time.monotonic() > end or (server.process and not _alive(server.process)):
            raise EnvironmentFault(
                "E_SERVER_UNREACHABLE",
                "the Prefect server does not answer",
                place=server.address,
                action=f"read {_log_file(placement)}, then run `millrace down` and the same command again",
            )
        time.sleep(0.05)
    try:
        found = json.loads(_get(f"{server.api_url}/admin/version"))
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise EnvironmentFault(
            "E_SERVER_UNREACHABLE",
            f"the server does not say which release it is ({error})",
            place=server.address,
            action="name a Prefect server without a login, or unset MILLRACE_PREFECT_API_URL",
        ) from error
    again = "run `millrace down` and the same command again"
    action = again if server.process else "install the same release on both sides"
    _same_release("Prefect", found, metadata.version("prefect"), server.address, action)


def _same_release(product: str, found: str, ours: str, address: str, action: str) -> None:
    if found.split(".")[:2] != ours.split(".")[:2]:
        raise EnvironmentFault(
            "E_SERVER_VERSION",
            f"the server is {product} {found[:40]}, this environment has {ours}",
            place=address,
            allowed=f"{'.'.join(ours.split('.')[:2])}.x",
            action=action,
        )


def check_tracking(placement: Placement) -> None:
    """Raise where the MLflow server that was set does not answer or is another release; MLflow would retry for minutes.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, E_SERVER_VERSION.
    """
    address = placement.tracking_uri.rstrip("/")
    if not address.startswith(("http://", "https://")):
        return
    try:
        found = _get(f"{address}/version").decode()
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise EnvironmentFault(
            "E_SERVER_UNREACHABLE",
            f"no MLflow server answers there ({error})",
            place="MILLRACE_TRACKING_URI",
            value=placement.tracking_uri,
            action="start that server, or unset the variable to use a local database",
        ) from error
    _same_release("MLflow", found, metadata.version("mlflow"), address, "install the same release on both sides")


def stop(placement: Placement) -> Server | None:
    """End the local server and its children, if there is one; returns what was ended."""
    with _lock(placement):
        server = find(placement)
        if server is not None:
            root = psutil.Process(server.process)
            family = [root, *root.children(recursive=True)]
            for process in family:
                _signal(process, psutil.Process.terminate)
            _, stubborn = psutil.wait_procs(family, STOP_SECONDS)
            for process in stubborn:
                _signal(process, psutil.Process.kill)
        _state_file(placement).unlink(missing_ok=True)
        return server


def _spawn(placement: Placement) -> Server:
    listener = _listener(placement)
    port = listener.getsockname()[1]
    address = f"http://{LOOPBACK}:{port}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    settings = {
        **prefect_settings(placement, f"{address}/api"),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": address,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": f"{address}/api",
        "PREFECT_SERVER_API_HOST": LOOPBACK,
        "PREFECT_SERVER_API_PORT": str(port),
        "DO_NOT_TRACK": "1",
        "NO_PROXY": f"{kept.get('NO_PROXY', '')},{LOOPBACK},localhost",
    }
    log = _log_file(placement)
    log.parent.mkdir(parents=True, exist_ok=True)
    (placement.home / "prefect").mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--factory", "flows.prefect_app:app", "--app-dir", str(ROOT)),
                *("--fd", str(listener.fileno()), "--log-level", "warning", "--no-access-log"),
            ],
            pass_fds=[listener.fileno()],
            env={**kept, **settings},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=placement.home,
        )
    listener.close()
    said = {"process": process.pid, "created": psutil.Process(process.pid).create_time(), "address": address}
    state = _state_file(placement)
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text(json.dumps(said))
    return Server(address=address, process=process.pid, started=True)


def _listener(placement: Placement) -> socket.socket:
    """A socket that listens already and is handed to the server: no other server can come between."""
    wanted = placement.prefect_port
    for port in [wanted] if wanted else range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen(128)
        except OSError:
            listener.close()
            continue
        return listener
    raise EnvironmentFault(
        "E_PORT_TAKEN",
        "something else listens there",
        place="MILLRACE_PREFECT_PORT" if wanted else f"ports {DEFAULT_PORT} to {DEFAULT_PORT + PORTS_TRIED - 1}",
        value=wanted or None,
        action="set MILLRACE_PREFECT_PORT to a free port"
        + (", or unset it to take the next free one" if wanted else ""),
    )


def answers(server: Server) -> bool:
    """Whether the server is healthy."""
    try:
        return _get(f"{server.api_url}/health") == b"true"
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _get(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as reply:
        body: bytes = reply.read()
        return body


def _alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, how: Any) -> None:
    with suppress(psutil.NoSuchProcess):
        how(process)


def _state_file(placement: Placement) -> Path:
    return placement.home / "servers" / "prefect.json"


def _log_file(placement: Placement) -> Path:
    return placement.home / "logs" / "prefect-server.log"


@contextmanager
def _lock(placement: Placement) -> Iterator[None]:
    folder = placement.home / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "prefect.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

"""The local profile's MLflow server, where `up` started one: runs and models in a browser, files by way of the server.

It serves the database and the files that commands without it use directly. It listens on loopback, answers to its own
host names only and takes writes from its own pages only.
"""

import urllib.error
from importlib import metadata

from components.contracts.errors import EnvironmentFault
from components.contracts.placement import Placement
from flows.asked import fetched, same_release, says
from flows.processes import (
    LOOPBACK,
    Running,
    Service,
    listener,
    python,
)
from flows.settings import for_service

DEFAULT_PORT = 5000
START_SECONDS = 120.0


def service(placement: Placement) -> Service:
    """The MLflow server of this home."""
    return Service(name="mlflow", home=placement.home)


def answers(placement: Placement, server: Running) -> bool:
    """Whether the server is healthy, and is the one that was started and not another on its port."""
    return says(f"{server.address}/health", b"OK") and service(placement).listens(server)


def found(placement: Placement) -> Placement:
    """The placement with the address of the local MLflow server, where one runs and no other was set.

    Raises:
        EnvironmentFault: E_SERVER_VERSION, it was started by another release.
    """
    running = None if placement.tracking_uri else service(placement).find()
    if running is None or not answers(placement, running):
        return placement
    _check_release(running)
    return placement.model_copy(update={"mlflow_server": running.address})


def ensure(placement: Placement) -> Running:
    """The running server, started now if there is none; the database has to exist. See `wait`.

    Raises:
        EnvironmentFault: E_PORT_TAKEN, the port that was set is in use.
    """
    ours = service(placement)
    with ours.lock():
        return ours.find() or _spawn(placement, ours)


def wait(placement: Placement, server: Running) -> None:
    """Return when the server answers.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, it ended or took too long; E_DATABASE; E_SERVER_VERSION.
    """
    service(placement).wait(server, lambda: answers(placement, server), START_SECONDS, "the MLflow server")
    _check_release(server)


def _check_release(server: Running) -> None:
    release = fetched(f"{server.address}/version").decode()
    again = "run `millrace down` and the same command again"
    same_release("MLflow", release, metadata.version("mlflow"), server.address, again)


def check_tracking(placement: Placement) -> None:
    """Raise where the MLflow server that was set does not answer or is another release; MLflow would retry for minutes.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, E_SERVER_VERSION.
    """
    address = placement.tracking_uri.rstrip("/")
    if not address.startswith(("http://", "https://")):
        return
    try:
        release = fetched(f"{address}/version").decode()
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise EnvironmentFault(
            "E_SERVER_UNREACHABLE",
            f"no MLflow server answers there ({error})",
            place="MILLRACE_TRACKING_URI",
            value=placement.tracking_uri,
            action="start that server, or unset the variable to use a local database",
        ) from error
    same_release("MLflow", release, metadata.version("mlflow"), address, "install the same release on both sides")


def _spawn(placement: Placement, ours: Service) -> Running:
    with listener(placement.mlflow_port, DEFAULT_PORT, "MILLRACE_MLFLOW_PORT", ours.last_port) as socket:
        port = socket.getsockname()[1]
    # MLflow's command takes no open socket; between here and its own bind another process could take the port.
    address = f"http://{LOOPBACK}:{port}"
    environment = for_service({
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    })
    options = {
        "--backend-store-uri": placement.model_copy(update={"mlflow_server": ""}).tracking,
        "--artifacts-destination": placement.mlflow_artifacts.as_uri(),
        "--host": LOOPBACK,
        "--port": str(port),
        "--workers": "1",
        "--allowed-hosts": f"{LOOPBACK}:{port},localhost:{port}",
        "--cors-allowed-origins": f"{address},http://localhost:{port}",
        "--uvicorn-opts": "--log-level warning --no-access-log",
    }
    command = python("-m", "mlflow", "server", *(text for pair in options.items() for text in pair))
    return ours.start(command, environment, address)

"""The local profile's own Prefect server: started by the first command, found again by later ones, ended by `down`.

It listens on loopback, takes requests from its own pages only (CORS) and asks for a CSRF token: Prefect's defaults
would let any web page that the user opens create and run a deployment.
"""

import json
import urllib.error
from importlib import metadata

from components.contracts.closure import ROOT
from components.contracts.errors import EnvironmentFault
from components.contracts.placement import Placement
from flows.asked import fetched, same_release, says
from flows.processes import (
    LOOPBACK,
    Running,
    Service,
    awaited,
    listener,
    python,
)
from flows.settings import for_service, prefect_settings

DEFAULT_PORT = 4200
START_SECONDS = 120.0


def service(placement: Placement) -> Service:
    """The Prefect server of this home."""
    return Service(name="prefect", home=placement.home)


def ensure(placement: Placement) -> Running:
    """The running server of this placement, started now if there is none; it may not answer yet, see `wait`.

    Raises:
        EnvironmentFault: E_PORT_TAKEN, the port that was set is in use; E_SERVER_UNREACHABLE, the server that was set
            does not answer.
    """
    if placement.prefect_api_url:
        address = placement.prefect_api_url.rstrip("/").removesuffix("/api")
        server = Running(address=address, process=0)
        if not answers(server):
            raise EnvironmentFault(
                "E_SERVER_UNREACHABLE",
                "no Prefect server answers there",
                place="MILLRACE_PREFECT_API_URL",
                value=placement.prefect_api_url,
                action="start that server, or unset the variable to use a local one",
            )
        return server
    ours = service(placement)
    with ours.lock():
        return ours.find() or _spawn(placement, ours)


def find(placement: Placement) -> Running | None:
    """The server that an earlier command left running, or None."""
    return service(placement).find()


def required(placement: Placement, place: str) -> Running:
    """The server that is up or set, answering; `place` needs it and starts none.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, E_SERVER_VERSION.
    """
    running = ensure(placement) if placement.prefect_api_url else find(placement)
    if running is None:
        raise EnvironmentFault(
            "E_SERVER_UNREACHABLE",
            "there is no Prefect server here",
            place=place,
            action="run `millrace up` first, or name a server in MILLRACE_PREFECT_API_URL",
        )
    wait(placement, running)
    return running


def wait(placement: Placement, server: Running) -> None:
    """Return when the server answers.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, it ended or took too long; E_DATABASE; E_SERVER_VERSION, it is another
            release.
    """
    service(placement).wait(server, lambda: answers(server), START_SECONDS, "the Prefect server")
    try:
        found = json.loads(fetched(f"{server.api_url}/admin/version"))
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise EnvironmentFault(
            "E_SERVER_UNREACHABLE",
            f"the server does not say which release it is ({error})",
            place=server.address,
            action="name a Prefect server without a login, or unset MILLRACE_PREFECT_API_URL",
        ) from error
    again = "run `millrace down` and the same command again"
    action = again if server.process else "install the same release on both sides"
    same_release("Prefect", found, metadata.version("prefect"), server.address, action)


def answers(server: Running) -> bool:
    """Whether the server is healthy."""
    return says(f"{server.api_url}/health", b"true")


def _spawn(placement: Placement, ours: Service) -> Running:
    others = awaited(placement.home)
    socket = listener(placement.prefect_port, DEFAULT_PORT, "MILLRACE_PREFECT_PORT", ours.last_port, others)
    port = socket.getsockname()[1]
    address = f"http://{LOOPBACK}:{port}"
    environment = for_service({
        **prefect_settings(placement, f"{address}/api"),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": address,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": f"{address}/api",
        "PREFECT_SERVER_API_HOST": LOOPBACK,
        # One at a time, the writes of a task's states take longer than the task and meet those of the run.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "2",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "100",
        # Which runs hold a slot of a limit outlives the server, as the count of slots does.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    })
    (placement.home / "prefect").mkdir(parents=True, exist_ok=True)
    uvicorn = ("-m", "uvicorn", "--factory", "flows.prefect_app:app", "--app-dir", str(ROOT))
    options = ("--fd", str(socket.fileno()), "--log-level", "warning", "--no-access-log")
    with socket:
        return ours.start(python(*uvicorn, *options), environment, address, handed=[socket.fileno()])

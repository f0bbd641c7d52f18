"""The local worker: takes the runs that deployments and schedules ask for, each in a process of its own."""

import importlib.util
import json
import signal
import subprocess
import threading
import urllib.error
from pathlib import Path
from urllib.parse import quote

from components.contracts.closure import ROOT
from components.contracts.errors import EnvironmentFault
from components.contracts.placement import Placement
from flows import server
from flows.asked import fetched
from flows.processes import Running, Service, python
from flows.settings import for_service, logins, mlflow_settings, own_settings, prefect_settings

POOL, PROCESS = "millrace", "process"
POLL_SECONDS = 2
START_SECONDS = 60.0
READY = "started!"
STOP_SECONDS = 30.0
"""How long Prefect's worker has to end once it was asked to: now and then it waits for ever on a connection.

A training that it ends has 25 s for its checkpoint.
"""


def service(placement: Placement) -> Service:
    """The worker of this home."""
    return Service(name="worker", home=placement.home)


def environment(placement: Placement, prefect: Running) -> dict[str, str]:
    """What a worker and its runs need to know; settings with paths made absolute."""
    return for_service({
        **own_settings(placement),
        **logins(placement),
        **prefect_settings(placement, prefect.api_url),
        **mlflow_settings(placement),
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
        # Two trainings at once: threads that wait spinning take the cores from those that work (84 s instead of 18).
        "GOMP_SPINCOUNT": "3000",
        "PREFECT_WORKER_QUERY_SECONDS": str(POLL_SECONDS),
        "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": str(POLL_SECONDS),
    })


def command(pool: str = POOL, kind: str = PROCESS) -> list[str]:
    """Starts a worker of `pool`, whose runs are of that kind; it makes the pool if there is none."""
    return python("-m", "prefect", "worker", "start", "--pool", pool, "--type", kind)


def ensure(placement: Placement, prefect: Running) -> Running:
    """The running worker, started now if there is none; the server has to answer. See `wait`."""
    ours = service(placement)
    with ours.lock():
        running = ours.find()
        if running is not None and running.address == prefect.address:
            return running
        # One that asks an address where its server is no more could come upon another home's.
        ours.end()
        ours.log.unlink(missing_ok=True)
        return ours.start(command(), environment(placement, prefect), prefect.address, folder=ROOT)


def end_orphans(placement: Placement) -> bool:
    """End runs whose worker is gone, each after a checkpoint; whether there were any."""
    ours = service(placement)
    with ours.lock():
        return ours.find() is None and ours.end() is not None


def wait(placement: Placement, running: Running) -> None:
    """Return when the worker takes runs.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, it ended or took too long.
    """
    ours = service(placement)
    ours.wait(running, lambda: ready(ours.log), START_SECONDS, "the worker")


def ready(log: Path) -> bool:
    """Whether the worker has said that it takes runs."""
    return log.is_file() and READY in log.read_text(errors="replace")


def _kind(running: Running, pool: str) -> str:
    """What the runs of a pool are, as the server knows it."""
    try:
        kind = str(json.loads(fetched(f"{running.api_url}/work_pools/{quote(pool, safe='')}"))["type"])
    except urllib.error.HTTPError:
        return PROCESS
    if kind != PROCESS and importlib.util.find_spec(f"prefect_{kind}") is None:
        raise EnvironmentFault(
            "E_EXTRA_MISSING",
            f"prefect-{kind} is not installed",
            place=f"pool {pool}",
            action=f"pip install -e '.[{kind}]'",
        )
    return kind


def work(placement: Placement, pool: str) -> int:
    """Be a worker of `pool` in the foreground until asked to stop, and soon after; the exit code.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, there is no server to take runs from; E_SERVER_VERSION;
            E_EXTRA_MISSING, Prefect's worker for runs of the pool's kind is not installed.
    """
    running = server.required(placement, "worker")
    kind = _kind(running, pool)
    process = subprocess.Popen(command(pool, kind), env=environment(placement, running), cwd=ROOT)
    last = threading.Timer(STOP_SECONDS, process.kill)
    last.daemon = True

    def stop(number: int, _: object) -> None:
        process.send_signal(number)
        if last.ident is None:
            last.start()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    code = process.wait()
    last.cancel()
    return code

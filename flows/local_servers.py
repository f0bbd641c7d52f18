"""`up`, `down` and `status`: the Prefect server, the MLflow server and the worker of one home, together."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from components.contracts.config import Frozen
from components.contracts.errors import ConflictError, masked
from components.contracts.placement import Placement
from flows import mlflow_server, server, settings, worker
from flows.living import ended_at, gone, under_way
from flows.processes import Running, Service

Tell = Callable[[str], None]


class ServiceState(Frozen):
    """What `millrace status --json` says of one service."""

    name: str
    state: Literal["up", "starting", "down", "elsewhere"]
    address: str = ""
    process: int = 0
    log: str = ""


def up(placement: Placement, tell: Tell) -> None:
    """Start what does not run yet, and wait until all of it answers. What was set in the settings is not started.

    Raises:
        EnvironmentFault: E_PORT_TAKEN, E_SERVER_UNREACHABLE, E_SERVER_VERSION, E_DATABASE; what this call started is
            ended again.
    """
    began = time.monotonic()
    with _together() as started:
        prefect = server.ensure(placement)
        started.append((server.service(placement), prefect))
        if not placement.tracking_uri:
            _up_mlflow(placement, started)
        else:
            mlflow_server.check_tracking(placement)
        server.wait(placement, prefect)
        tell(_line("Prefect server", prefect, began))
        for _, running in started[1:]:
            mlflow_server.wait(placement, running)
            tell(_line("MLflow server", running, began))
        orphans = worker.end_orphans(placement)
        for name in _reconciled(mlflow_server.found(placement), prefect, again=True, surely=orphans):
            tell(f"run {name} went away earlier; it is now marked as crashed")
        taker = worker.ensure(mlflow_server.found(placement), prefect)
        started.append((worker.service(placement), taker))
        worker.wait(placement, taker)
        tell(_line(f"worker of pool {worker.POOL}", taker, began))


def _reconciled(placement: Placement, prefect: Running, *, again: bool, surely: bool = False) -> list[str]:
    """Runs that went away: each would keep its place in the pool and its deployment's limit."""
    if not (surely or gone(placement)):
        return []
    settings.export(placement, prefect.api_url)
    from components.context import open_context
    from flows.reconcile import reconcile

    return reconcile(open_context(placement), again=again)


def _up_mlflow(placement: Placement, started: list[tuple[Service, Running]]) -> None:
    if mlflow_server.service(placement).find() is None:
        # Two servers and a first command must not create the database at once.
        settings.export(placement, "")
        from components.adapters.tracking import Tracker

        Tracker(placement).create()
    started.append((mlflow_server.service(placement), mlflow_server.ensure(placement)))


@contextmanager
def _together() -> Iterator[list[tuple[Service, Running]]]:
    """A list of services; where the block fails, those that were started for it are ended."""
    started: list[tuple[Service, Running]] = []
    try:
        yield started
    except BaseException:
        for service, running in reversed(started):
            if running.started:
                service.stop()
        raise


def _line(what: str, running: Running, began: float) -> str:
    how = f"up after {time.monotonic() - began:.1f} s" if running.started else "was up"
    return f"{what:<26}{running.address}  {how}"


def down(placement: Placement, tell: Tell, *, force: bool = False) -> None:
    """End what was started for this home: the worker with its runs first, while they can still report.

    Raises:
        ConflictError: E_RUN_UNDER_WAY, a run that a shell started still needs the servers, unless `force` is set.
    """
    names = {"worker": "the worker", "mlflow": "the MLflow server", "prefect": "the Prefect server"}
    services = {one.name: one for one in _services(placement)}
    prefect = services["prefect"].find()
    if prefect is not None and not force:
        _let_go(placement)
    ended, alive = False, list(under_way(placement))
    for name in ("worker", "mlflow", "prefect"):
        running = services[name].stop()
        if running is None:
            continue
        ended = True
        tell(f"ended {names[name]}" + (f" at {running.address}" if running.address else ""))
        if name == "worker" and prefect is not None:
            marked = _reconciled(mlflow_server.found(placement), prefect, again=False)
            still = under_way(placement)
            for run in dict.fromkeys((*marked, *alive)):
                if run not in still:
                    how = "is now marked as crashed" if run in marked else "has stopped"
                    tell(f"run {run} was under way; it {how}, and the same parameters continue it")
    if not ended:
        tell("nothing was running")
        return
    last = ended_at(placement)
    last.parent.mkdir(parents=True, exist_ok=True)
    last.touch()


def _let_go(placement: Placement) -> None:
    """Raise E_RUN_UNDER_WAY where a run lives that is not the worker's: it would wait for servers that are gone."""
    names = [name for name, of_a_worker in under_way(placement).items() if not of_a_worker]
    if names:
        raise ConflictError(
            "E_RUN_UNDER_WAY",
            "a run that was started from a shell needs the servers",
            place="millrace down",
            value=", ".join(names),
            action="end it first (Ctrl-C in its shell), or end the servers all the same: millrace down --force",
        )


def status(placement: Placement) -> list[ServiceState]:
    """How each service stands."""
    checks: dict[str, Callable[[Running], bool]] = {
        "prefect": server.answers,
        "mlflow": lambda running: mlflow_server.answers(placement, running),
        "worker": lambda _: worker.ready(worker.service(placement).log),
    }
    elsewhere = {"prefect": placement.prefect_api_url, "mlflow": placement.tracking_uri}
    states = []
    for service in _services(placement):
        address = elsewhere.get(service.name, "")
        running = None if address else service.find()
        if address:
            states.append(ServiceState(name=service.name, state="elsewhere", address=masked(address)))
        elif running is None:
            states.append(ServiceState(name=service.name, state="down"))
        else:
            states.append(
                ServiceState(
                    name=service.name,
                    state="up" if checks[service.name](running) else "starting",
                    address=running.address,
                    process=running.process,
                    log=str(service.log),
                )
            )
    return states


def _services(placement: Placement) -> tuple[Service, ...]:
    return server.service(placement), mlflow_server.service(placement), worker.service(placement)

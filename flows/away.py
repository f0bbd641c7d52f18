"""Attempts of a search in a work pool: each is a run of the flow `attempt`, started, followed and ended if need be."""

import json
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from components.context import Progress
from components.contracts.errors import ConfigError
from flows.attempts import Attempt, Attempted

LOOK_SECONDS = 1.0
LONG_SECONDS = 30.0


def away(jobs: Sequence[Attempt], deployment: str, progress: Progress, done: int) -> list[Attempted]:
    """Run them all at the same time, as far as the pool does; `done` trials were before.

    Raises:
        ConfigError: E_CONFIG, there is no such deployment of the flow.
    """
    name = f"attempt/{deployment}"
    progress.started("trials")
    with get_client(sync_client=True) as client:
        _check(client, name, deployment)
        started: dict[UUID, Attempt] = {}
        found: dict[int, Attempted] = {}
        try:
            for job in jobs:
                given: Any = run_deployment(name, parameters=_parameters(job), timeout=0, flow_run_name=job.label)
                started[given.id] = job
            _follow(client, started, found, progress, done)
        finally:
            for run in [run for run, job in started.items() if job.number not in found]:
                client.set_flow_run_state(run, Cancelling(message="the search was ended"))
    return [found[job.number] for job in jobs]


def _follow(
    client: SyncPrefectClient, started: dict[UUID, Attempt], found: dict[int, Attempted], progress: Progress, done: int
) -> None:
    late, taken = time.monotonic() + LONG_SECONDS, False
    while len(found) < len(started):
        time.sleep(LOOK_SECONDS)
        for run, job in started.items():
            if job.number in found:
                continue
            state = client.read_flow_run(run).state
            taken = taken or not (state is None or state.is_scheduled() or state.is_pending())
            if state is not None and state.is_final():
                found[job.number] = _reached(job, state)
        progress.advanced("trials", done + len(found), done + len(started), "trials")
        if not taken and time.monotonic() > late:
            late = float("inf")
            progress.warned("no worker has taken a trial yet; `make up` starts one, or see to the pool's own")


def _reached(job: Attempt, state: Any) -> Attempted:
    if state.is_completed():
        return Attempted.model_validate_json(state.message)
    said = " ".join((state.message or "for no reason given").split())
    return Attempted(number=job.number, error=f"{state.name}: {said}")


def _parameters(job: Attempt) -> dict[str, Any]:
    return {
        "recipe": job.recipe,
        "overrides": list(job.overrides),
        "number": job.number,
        "figure": job.figure,
        "more_is_better": job.more_is_better,
        "search": json.dumps({"run": job.run, "parent": job.parent, "values": dict(job.values), "past": job.past}),
    }


def _check(client: SyncPrefectClient, name: str, deployment: str) -> None:
    try:
        client.read_deployment_by_name(name)
    except ObjectNotFound as error:
        raise ConfigError(
            "E_CONFIG",
            "there is no such deployment of the flow `attempt`",
            place="deployment",
            value=deployment,
            allowed="any-trial, after `make up deploy`",
            action="deploy it, or leave it out",
        ) from error

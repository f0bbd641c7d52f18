"""A step in a work pool of its own: the flow `step` there, from records in the store that both share to one in it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from components.context import NotCommittedError, Silent
from components.contracts.errors import ConfigError, EnvironmentFault
from flows.line import STAGES
from flows.runs import Run

LOOK_SECONDS, LONG_SECONDS = 1.0, 30.0


def placed(run: Run, name: str, where: str, work: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """What the step gives, made by deployment `where` of the flow `step`, unless it is in the store already.

    Raises:
        ConfigError: E_CONFIG, there is no such deployment.
        EnvironmentFault: E_STEP_AWAY, it failed there; what it said.
    """
    try:
        # Told to nobody: whether it is there is all that is asked.
        work(*arguments, ctx=replace(run.ctx, peeking=True, progress=Silent(), outcomes=[]))
    except NotCommittedError:
        _run(run, name, where, arguments)
        given = work(*arguments, ctx=run.ctx)
        last = run.ctx.outcomes[-1]
        run.ctx.outcomes[-1] = last.model_copy(update={"reused": False, "why": f"ran by the deployment {where}"})
        return given
    return work(*arguments, ctx=run.ctx)


def _run(run: Run, name: str, where: str, arguments: Sequence[Any]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Cancelling

    takes = STAGES[name].takes
    inputs = [f"{step}={one.fingerprint}" for step, one in zip(takes, arguments[1:], strict=False) if one is not None]
    parameters = {"step": name, "recipe": run.recipe, "overrides": list(run.overrides), "inputs": inputs}
    run.ctx.progress.started(name)
    try:
        started: Any = run_deployment(f"step/{where}", parameters=parameters, timeout=0)
    except ObjectNotFound as error:
        raise ConfigError(
            "E_CONFIG",
            "there is no such deployment of the flow `step`",
            place="MILLRACE_PLACES",
            value=f"{name}={where}",
            allowed="any-step, or a pool of `millrace deploy --pool NAME`",
            action="deploy it, or leave the step out",
        ) from error
    with get_client(sync_client=True) as client:
        try:
            state = _followed(client, started.id, run)
        except BaseException:
            client.set_flow_run_state(started.id, Cancelling(message="the run that asked for it was ended"))
            raise
    if not state.is_completed():
        raise EnvironmentFault(
            "E_STEP_AWAY",
            f"{state.name}: {' '.join((state.message or 'for no reason given').split())}",
            place=f"{name} by the deployment {where}",
            action="look at that run on Prefect's pages; the same command continues from what was committed",
        )


def _followed(client: Any, number: UUID, run: Run) -> Any:
    late = time.monotonic() + LONG_SECONDS
    while True:
        state = client.read_flow_run(number).state
        if state is not None and state.is_final():
            return state
        if state is not None and state.is_scheduled() and time.monotonic() > late:
            late = float("inf")
            run.ctx.progress.warned("no worker has taken the step yet: `millrace worker --pool NAME` starts one")
        time.sleep(LOOK_SECONDS)

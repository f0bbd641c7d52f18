"""Runs whose process is gone, told the truth: CRASHED in Prefect, KILLED in MLflow; and started again, once.

Neither server notices by itself where worker and run went together: a killed flow stays RUNNING in both for ever, and
keeps its place in the pool. What a run that was declared dead writes later is refused. A run that a deployment started
is started again with the same parameters, and goes on from what was committed; one that was itself such a second try is
not, since the cause may lie in it.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from components.adapters.pointers import Pointer
from components.context import RunContext
from components.contracts.placement import Placement
from flows.living import condemned, ended_at, forget, gone, numbers_under_way, silent, store_tag
from flows.runs import RUN_TAG

AGAIN_TAG = "millrace.again"
"""What the tag of a second try begins with; the number of the first follows."""
LATELY, BEGINNING = timedelta(hours=1), timedelta(seconds=60)
"""How far back crashed runs are started again, and how long a process may take to say that it lives."""


def reconcile(
    ctx: RunContext, *, again: bool = False, tell: Callable[[str], None] | None = None, own: str = ""
) -> list[str]:
    """End every run that went away, and start it again where that is asked for; their names. Safe to repeat.

    What this machine can see takes no time. With `tell`, runs (but `own`) are also watched by their leases, wherever
    they are.
    """
    lost = [one for one in gone(ctx.placement) if condemned(ctx, one.name)]
    if tell is not None:
        lost = list({one.name: one for one in [*silent(ctx, tell, own), *lost]}.values())
    ended = []
    for one in lost:
        _end_in_prefect(one.name, one.prefect_run)
        ctx.tracker.end_tagged(RUN_TAG, one.name, "KILLED")
        forget(ctx, one.name)
        ended.append(one.name)
    if again:
        ended += _never_began(ctx)
        for run in _crashed_since(_lately(ctx.placement), store_tag(ctx.placement)):
            _start_again(ctx, run)
    return ended


def _never_began(ctx: RunContext) -> list[str]:
    """End the runs of our deployments whose process went before it said that it lives; their names.

    Only those that share this store are looked at: leases of others are elsewhere. On a server of others a run that
    waits for its process may do so for long: machines are started for it.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        FlowRunFilterTags,
    )
    from prefect.client.schemas.objects import StateType

    states = [StateType.RUNNING] if ctx.placement.prefect_api_url else [StateType.RUNNING, StateType.PENDING]
    going = FlowRunFilterState(type=FlowRunFilterStateType(any_=states))
    lost = []
    with get_client(sync_client=True) as client:
        ours = FlowRunFilter(state=going, tags=FlowRunFilterTags(all_=[store_tag(ctx.placement)]))
        runs = client.read_flow_runs(flow_run_filter=ours, limit=200)
        # Looked at after the server was asked, so that one that began meanwhile counts as living.
        alive = numbers_under_way(ctx)
        for run in runs:
            since = run.state.timestamp if run.state else run.created
            silent = since is not None and datetime.now(UTC) - since > BEGINNING
            if run.deployment_id is not None and str(run.id) not in alive and silent:
                _crash(client, run.id)
                lost.append(run.name)
    return lost


def _lately(placement: Placement) -> datetime:
    """From when on crashed runs are started again: not those that ended with their servers, as somebody asked."""
    hour_ago, ended = datetime.now(UTC) - LATELY, ended_at(placement)
    if not ended.exists():
        return hour_ago
    return max(hour_ago, datetime.fromtimestamp(ended.stat().st_mtime, UTC))


def _crashed_since(since: datetime, tag: str) -> list[Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterEndTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
        FlowRunFilterTags,
    )
    from prefect.client.schemas.objects import StateType

    crashed = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED]))
    lately = FlowRunFilterEndTime(after_=since)
    with get_client(sync_client=True) as client:
        ours = FlowRunFilter(state=crashed, end_time=lately, tags=FlowRunFilterTags(all_=[tag]))
        return list(client.read_flow_runs(flow_run_filter=ours, limit=200))


def _end_in_prefect(name: str, prefect_run: str) -> None:
    """Crash the runs of that name or number, unless their worker has noticed before."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterTags
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        # The command tags its run before the flow knows its number; a worker's run has a number and no tag.
        tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"{RUN_TAG}:{name}"]))
        numbered = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(prefect_run)])) if prefect_run else None
        runs = client.read_flow_runs(
            flow_run_filter=numbered or tagged, limit=10, offset=0, sort=FlowRunSort.START_TIME_DESC
        )
        for run in runs:
            if run.state is None or not run.state.is_final():
                _crash(client, run.id)


def _crash(client: Any, number: UUID) -> None:
    from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId
    from prefect.client.schemas.sorting import TaskRunSort
    from prefect.states import Crashed

    crashed: Any = Crashed(message="The process went away; the same command continues from what was committed.")
    children = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[number]))
    for child in client.read_task_runs(task_run_filter=children, limit=200, offset=0, sort=TaskRunSort.END_TIME_DESC):
        if child.state is None or not child.state.is_final():
            client.set_task_run_state(child.id, crashed, force=True)
    client.set_flow_run_state(number, crashed, force=True)


def _start_again(ctx: RunContext, run: Any) -> None:
    """A second run of the same deployment with the same parameters; of any number of reconcilers one starts it."""
    from prefect.client.orchestration import get_client

    if run.deployment_id is None or any(one.startswith(AGAIN_TAG) for one in run.tags):
        return
    if not Pointer(ctx.store, f"again/{run.id}").move({"run": str(run.id)}, after=0):
        return
    with get_client(sync_client=True) as client:
        client.create_flow_run_from_deployment(
            run.deployment_id, parameters=run.parameters, tags=[*run.tags, f"{AGAIN_TAG}:{run.id}"]
        )

"""Runs whose process is gone, told the truth: CRASHED in Prefect, KILLED in MLflow.

Neither notices by itself: a killed flow stays RUNNING in both for ever.
"""

from typing import Any
from uuid import UUID

from components.context import RunContext
from flows.runs import RUN_TAG, gone


def reconcile(ctx: RunContext) -> list[str]:
    """End every run that went away; returns their names. Safe to repeat."""
    ended = []
    for name, prefect_run, path in gone(ctx.placement):
        _end_in_prefect(name, prefect_run)
        ctx.tracker.end_tagged(RUN_TAG, name, "KILLED")
        path.unlink(missing_ok=True)
        ended.append(name)
    return ended


def _end_in_prefect(name: str, prefect_run: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterId,
        FlowRunFilterTags,
        TaskRunFilter,
        TaskRunFilterFlowRunId,
    )
    from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        # The command tags its run before the flow knows its number; a worker's run has a number and no tag.
        tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"{RUN_TAG}:{name}"]))
        numbered = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(prefect_run)])) if prefect_run else None
        runs = client.read_flow_runs(
            flow_run_filter=numbered or tagged, limit=10, offset=0, sort=FlowRunSort.START_TIME_DESC
        )
        for run in runs:
            if run.state is not None and run.state.is_final():
                continue
            crashed: Any = Crashed(message="The process went away; the same command continues from what was committed.")
            children = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run.id]))
            for child in client.read_task_runs(
                task_run_filter=children, limit=200, offset=0, sort=TaskRunSort.END_TIME_DESC
            ):
                if child.state is None or not child.state.is_final():
                    client.set_task_run_state(child.id, crashed, force=True)
            client.set_flow_run_state(run.id, crashed, force=True)

"""The reconciling flow: runs that went away are told so, and started again once."""

import os
from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed

from components.context import open_context
from flows import mlflow_server, settings
from flows.glance import show_models
from flows.living import alive
from flows.progress import mistakes_in_one_line
from flows.reconcile import reconcile


@flow(name="reconciling", flow_run_name="runs that went away", **settings.OF_FLOWS)
def reconciling(again: bool = True) -> Any:  # noqa: FBT001, FBT002 - a field of the form
    """End runs whose process went away, in Prefect and MLflow, and start those of deployments again, once.

    Args:
        again: Whether they are started again; each goes on from what it had committed.
    """
    mistakes_in_one_line()
    placement = mlflow_server.found(settings.read())
    ctx = open_context(placement, "reconciling")
    own = os.urandom(6).hex()
    with alive(ctx, own, str(flow_run.id)):
        ended = reconcile(ctx, again=again, tell=get_run_logger().info, own=own)
    show_models(ctx)
    return Completed(message=f"{len(ended)} runs had gone away: {', '.join(ended)}".rstrip(": "))

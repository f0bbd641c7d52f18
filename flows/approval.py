"""The approval flow: a person's word for the package of a run, from Prefect's pages, and the rest of that run."""

import os
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from components.context import open_context
from components.contracts.artifacts import Approval
from flows import settings
from flows.living import alive
from flows.progress import mistakes_in_one_line
from flows.runs import approve
from flows.training import training


@flow(name="approval", flow_run_name="{run} approved", **settings.OF_FLOWS)
def approval(
    run: Annotated[str, Field(min_length=1)],
    who: Annotated[str, Field(min_length=1)],
    why: Annotated[str, Field(min_length=1)],
) -> Any:
    """Let the package of a run that waits, or was rejected, through the gate, and run the rest.

    Args:
        run: The run that waits, as its page names it, such as 40118d754851.
        who: Who decides; kept with the model for good.
        why: The reason, kept with the model for good.
    """
    mistakes_in_one_line()
    placement = settings.read()
    recipe, overrides = approve(placement, run, Approval(who=who, why=why))
    with alive(open_context(placement, "approval"), os.urandom(6).hex(), str(flow_run.id)):
        return training(recipe, overrides, return_state=True)

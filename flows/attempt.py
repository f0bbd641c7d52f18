"""One attempt of a search as a flow: what any work pool can run. Its final message is what it reached, as JSON."""

import json
import os
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from components.context import open_context
from components.contracts.errors import ConfigError
from flows import mlflow_server, settings
from flows.attempts import Attempt, attempted
from flows.living import alive
from flows.progress import RunPage, mistakes_in_one_line


@flow(name="attempt", flow_run_name="{recipe} trial {number}", **settings.OF_FLOWS)
def attempt(
    recipe: str = "digits-cnn",
    overrides: Annotated[list[str], Field(max_length=200)] = [],  # noqa: B006 - Prefect reads the default for its form
    *,
    number: Annotated[int, Field(ge=0)] = 0,
    figure: str = "validation_loss",
    more_is_better: bool = False,
    search: str = "{}",
) -> Any:
    """Train a recipe with other values, up to its validation rows.

    Args:
        recipe: Name of a recipe, or the path or address of a YAML file.
        overrides: Changes to the recipe, each as key.path=value.
        number: The trial's number.
        figure: The validation figure that is searched for.
        more_is_better: Whether more of it is better.
        search: Of the search, as JSON: its run, its MLflow run (parent), the values that it chose, and what earlier
            trials reached in each epoch and in the end (past): a trial that is worse ends early.
    """
    mistakes_in_one_line()
    placement = settings.read()
    mlflow_server.check_tracking(placement)
    placement = mlflow_server.found(placement)
    known = _known(search)
    job = Attempt(
        placement=placement,
        recipe=recipe,
        overrides=tuple(overrides),
        number=number,
        values=known.get("values", {}),
        figure=figure,
        more_is_better=more_is_better,
        run=known.get("run", ""),
        parent=known.get("parent", ""),
        past=tuple(known.get("past", ())),
    )
    ctx = open_context(placement, "attempt")
    with alive(ctx, os.urandom(6).hex(), str(flow_run.id)):
        return Completed(message=attempted(job, RunPage(f"trial-{number}"), ctx.store).model_dump_json())


def _known(search: str) -> dict[str, Any]:
    try:
        found = json.loads(search)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    raise ConfigError(
        "E_CONFIG", "it is no JSON object", place="search", value=search, allowed="{}", action="leave it as it is"
    )

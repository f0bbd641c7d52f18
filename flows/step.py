"""One step as a flow: what any work pool can run, from records in the store to a record in the store."""

import os
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from components.context import open_context
from flows import mlflow_server, settings
from flows.artifacts import show_steps
from flows.living import alive
from flows.pipeline import load_recipe
from flows.progress import RunPage, mistakes_in_one_line
from flows.single_step import pairs, run_step

Step = Literal[
    "ingest", "validate", "clean", "preprocess", "train", "package", "evaluate", "compress", "gate", "register"
]


@flow(name="step", flow_run_name="{step} of {recipe}", **settings.OF_FLOWS)
def step(
    step: Step = "ingest",
    recipe: str = "digits-cnn",
    overrides: Annotated[list[str], Field(max_length=100)] = [],  # noqa: B006 - Prefect reads the default for its form
    inputs: Annotated[list[str], Field(max_length=10)] = [],  # noqa: B006
) -> Any:
    """Run one step of a recipe from results in the store; a step that is not given its inputs takes the last ones.

    Args:
        step: The step to run.
        recipe: Name of a recipe, or the path or address of a YAML file.
        overrides: Changes to the recipe, each as key.path=value, such as train.batch_size=128.
        inputs: Results to start from, each as step=fingerprint, such as ingest=3f2a….
    """
    mistakes_in_one_line()
    placement = settings.read()
    config = load_recipe(recipe, overrides, placement.data, placement.recipes)
    given = pairs(inputs, "inputs")
    mlflow_server.check_tracking(placement)
    ctx = open_context(mlflow_server.found(placement), config.name, RunPage(config.name))
    ctx.rerun = ctx.reruns(())
    with alive(ctx, os.urandom(6).hex(), str(flow_run.id)):
        result = run_step(step, config, given, ctx)
    show_steps(f"{config.name}-{step}", ctx.outcomes, f"{step} {result.fingerprint}".rstrip())
    return {"step": step, "fingerprint": result.fingerprint, "content": result.content}

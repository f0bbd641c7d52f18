"""The retraining flow: whether a model is worth training again, and if so its recipe's run, once for each window."""

import os
import time
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from components.context import open_context
from components.retrain import Asked, Reason, decide
from flows import mlflow_server, settings
from flows.again import Order, claimed, newcomers, recipe_for
from flows.glance import show_models
from flows.living import alive
from flows.progress import RunPage, mistakes_in_one_line
from flows.training import training


@flow(name="retraining", flow_run_name="{model} again: {reason}", **settings.OF_FLOWS)
def retraining(
    model: str = "digits-cnn",
    reason: Reason = "hand",
    why: Annotated[str, Field(max_length=2000)] = "",
    *,
    recipe: str = "",
    overrides: Annotated[list[str], Field(max_length=100)] = [],  # noqa: B006 - Prefect reads the default for its form
) -> Any:
    """Train a model again, if its recipe's section `retrain` finds that worth it; what has not changed is reused.

    Args:
        model: Name of a registered model.
        reason: What asks for it: a schedule, new data, drift, fallen performance, or a person (by hand).
        why: More of it, for the run's page.
        recipe: Name of a recipe, or the path or address of a YAML file; the one that made the champion if empty.
        overrides: Changes to the recipe, each as key.path=value; those of the champion's run count unless a recipe is
            named.
    """
    mistakes_in_one_line()
    placement = mlflow_server.found(settings.read())
    ctx = open_context(placement, f"{model}-retraining", RunPage(f"{model}-retraining"))
    due = str(flow_run.scheduled_start_time) if reason == "schedule" else ""
    order = Order(model=model, reason=reason, due=due, recipe=recipe, overrides=overrides)
    with alive(ctx, os.urandom(6).hex(), str(flow_run.id)):
        name, changes, config = recipe_for(order, ctx)
        with claimed(ctx, model) as claim:
            if claim is None:
                return _skipped(order, why, "another one is under way")
            new = newcomers(order, config, ctx)
            asked = Asked(reason=reason, now=time.time(), due=due, last=claim.last, new_rows=new)
            decision = decide(config.retrain, asked)
            if not decision.go:
                return _skipped(order, why, decision.why)
            _show(order, why, decision.why, go=True)
            claim.begin(order)
            try:
                state: Any = training(name, changes, return_state=True)
            except BaseException:
                claim.ended(well=False)
                raise
            claim.ended(well=state.is_completed())
    show_models(ctx)
    if not state.is_completed():
        return state
    return Completed(name=state.name, message=f"{decision.why}; {state.message or ''}".rstrip("; "))


def _skipped(order: Order, why: str, said: str) -> Any:
    _show(order, why, said, go=False)
    return Completed(name="Skipped", message=f"not trained again: {said}")


def _show(order: Order, why: str, said: str, *, go: bool) -> None:
    lines = [f"**{'Trained again' if go else 'Not trained again'}**: {said}.", f"Asked for by: {order.reason}."]
    create_markdown_artifact("\n\n".join([*lines, *([why] if why else [])]), key=f"{order.model}-retraining")

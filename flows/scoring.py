"""The scoring flow: a registered model's answers to every row of a source."""

import os
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from components.context import open_context
from flows import mlflow_server, settings
from flows.artifacts import show_steps
from flows.living import alive
from flows.progress import RunPage, mistakes_in_one_line
from flows.scored import Order, scored


@flow(name="scoring", flow_run_name="{model} scores", **settings.OF_FLOWS)
def scoring(
    model: str = "digits-cnn",
    source: str = "",
    overrides: Annotated[list[str], Field(max_length=100)] = [],  # noqa: B006 - Prefect reads the default for its form
    keep: Annotated[list[str], Field(max_length=1000)] = [],  # noqa: B006
    to: str = "",
) -> Any:
    """Score every row of a source with a registered model; what that version has scored before is not scored again.

    Args:
        model: Name of a registered model, also NAME@alias or NAME@version; the champion if there is no alias.
        source: A file, a folder, or the name, path or address of a recipe whose source is read; its own if empty.
        overrides: Changes to that recipe, each as key.path=value, such as source.uri=/new/rows.
        keep: Columns of the rows that stand beside the predictions.
        to: Where predictions go beside the store: a folder, s3://…, {kind: sql, url: …, table: …} or {kind: delta, …}.
    """
    mistakes_in_one_line()
    placement = mlflow_server.found(settings.read())
    name = model.partition("@")[0]
    ctx = open_context(placement, f"{name}-scoring", RunPage(f"{name}-scoring"))
    order = Order(model=model, source=source, overrides=overrides, keep=keep, to=to)
    with alive(ctx, os.urandom(6).hex(), str(flow_run.id)):
        made = scored(order, ctx)
    show_steps(f"{name}-scoring", ctx.outcomes, "What ran and why")
    ledger = made.ledger
    lines = [
        f"{ledger.rows_out if ledger else 0:,} rows scored by {made.name} version {made.version}.",
        f"Set aside: {sum(ledger.dropped.values()) if ledger else 0:,}.",
        f"Result in the store: `score/{made.fingerprint}`.",
    ]
    create_markdown_artifact("\n\n".join(lines), key=f"{name}-scored", description="What was scored")
    unchanged = all(one.reused for one in ctx.outcomes)
    return Completed(name="Unchanged" if unchanged else "Completed", message=lines[0])

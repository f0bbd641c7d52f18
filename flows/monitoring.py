"""The monitoring flow: new rows held against those that a model was tested on; what moved is told, as an event."""

import os
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from components.context import RunContext, open_context
from components.contracts.artifacts import DriftReport
from components.monitor import REPORT, said_of
from flows import mlflow_server, settings
from flows.artifacts import show_steps
from flows.glance import show_models
from flows.living import alive
from flows.progress import RunPage, mistakes_in_one_line
from flows.told import DRIFT, tell
from flows.watched import Order, watched

SHOWN, MOST_SIGNS = 50, 1000


@flow(name="monitoring", flow_run_name="{model} watched", **settings.OF_FLOWS)
def monitoring(
    model: str = "digits-cnn",
    source: str = "",
    overrides: Annotated[list[str], Field(max_length=100)] = [],  # noqa: B006 - Prefect reads the default for its form
    *,
    hours: Annotated[float, Field(gt=0, le=8784)] = 24.0,
    simulate_drift: Annotated[float, Field(ge=0, le=100)] = 0.0,
) -> Any:
    """Hold new rows against those that a model was tested on: columns, answers, pictures and texts, and labels if any.

    Args:
        model: Name of a registered model, also NAME@alias or NAME@version; the champion if there is no alias.
        source: A file, a folder, or the name, path or address of a recipe whose source is read; the prediction log of
            the servers if empty.
        overrides: Changes to that recipe, each as key.path=value, such as source.uri=/new/rows.
        hours: How far back the prediction log is read.
        simulate_drift: How far the rows are moved first, in deviations, to try what comes of it; 0 moves nothing.
    """
    mistakes_in_one_line()
    placement = mlflow_server.found(settings.read())
    name = model.partition("@")[0]
    ctx = open_context(placement, f"{name}-monitoring", RunPage(f"{name}-monitoring"))
    order = Order(model=model, source=source, overrides=overrides, hours=hours, simulate=simulate_drift)
    with alive(ctx, os.urandom(6).hex(), str(flow_run.id)):
        report = watched(order, ctx)
    show_steps(f"{name}-monitoring", ctx.outcomes, "What ran and why")
    _show(report, ctx)
    show_models(ctx)
    if report.alarms:
        _tell(report)
    return Completed(name=_state(report), message=said_of(report))


def _state(report: DriftReport) -> str:
    return ("Drift" if report.alarms else "Completed") if report.found else "TooFew"


def _tell(report: DriftReport) -> None:
    """The event that retraining waits for. Falling performance is said as such: a policy may treat it otherwise."""
    worse = any(one.alarm and one.kind == "performance" for one in report.found)
    payload = {
        "version": report.version,
        "reason": "performance" if worse else "drift",
        "why": said_of(report)[:MOST_SIGNS],
        "report": report.fingerprint,
    }
    tell(DRIFT, report.name, payload)


def _show(report: DriftReport, ctx: RunContext) -> None:
    lines = [said_of(report) + ".", ""]
    if report.found:
        lines += ["| | size | matters from | test rows | new rows |", "|---|---:|---:|---|---|"]
        order = sorted(report.found, key=lambda one: (not one.alarm, one.p, -one.size))
        for one in order[:SHOWN]:
            bold = "**" if one.alarm else ""
            cells = (f"{bold}{one.what}{bold}", f"{one.size:.3f}", f"{one.least:g}", one.before, one.now)
            lines.append(f"| {' | '.join(map(_plain, cells))} |")
        lines += [
            "",
            f"False alarms: {report.false_alarms} of {report.draws} batches drawn from the test rows themselves.",
        ]
    if report.simulated:
        lines += ["", f"The rows were moved by {report.simulated:g} of each column's deviation first: a trial."]
    path = ctx.store.open(ctx.store.artifact("monitor", report.fingerprint).standing(), REPORT)
    lines += ["", f"Report: `{path}`"]
    create_markdown_artifact("\n".join(lines), key=f"{report.name}-drift", description="What moved")


def _plain(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")

"""All models at a glance: champions with their age and figures, what monitoring found, last runs, what comes next."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from components import register
from components.adapters.pointers import drift_pointer
from components.context import RunContext
from components.contracts.artifacts import EvalReport, ValidSnapshot
from components.contracts.config import Frozen
from components.contracts.errors import MillraceError
from components.registered import find, lineage
from flows.asked import fetched

RUNS = 5
HOUR = 3600.0


class Model(Frozen):
    """One model: since when its champion stands (hours), its figures on the test part, and how fresh its rows are."""

    name: str
    version: str
    hours: float | None
    metrics: dict[str, float]
    rows_until: str = ""
    drift: str = ""
    drift_hours: float | None = None


class Glance(Frozen):
    """Everything; runs and schedules are those that a Prefect server knows."""

    models: tuple[Model, ...]
    runs: tuple[dict[str, str], ...] = ()
    next: tuple[dict[str, str], ...] = ()


def glance(ctx: RunContext, api_url: str = "") -> Glance:
    """What there is now; without a server's address no runs."""
    models = tuple(_model(ctx, name) for name in register.names(ctx))
    if not api_url:
        return Glance(models=models)
    last = _asked(api_url, {"state": {"type": {"not_any_": ["SCHEDULED"]}}}, "START_TIME_DESC")
    coming = _asked(api_url, {"state": {"type": {"any_": ["SCHEDULED"]}}}, "NEXT_SCHEDULED_START_TIME_ASC")
    runs = tuple({"name": one["name"], "state": one["state_name"], "at": one["start_time"] or ""} for one in last)
    return Glance(
        models=models,
        runs=runs,
        next=tuple({"name": one["name"], "at": one["next_scheduled_start_time"] or ""} for one in coming),
    )


def as_markdown(found: Glance) -> str:
    """The same for Prefect's pages."""
    lines = [
        "| model | version | champion for | on the test part | rows until | drift |",
        "|---|---:|---:|---|---|---|",
    ]
    for one in found.models:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in one.metrics.items())
        drift = one.drift + (f", {age(one.drift_hours)} ago" if one.drift_hours is not None else "")
        cells = (one.name, one.version, age(one.hours), figures, one.rows_until, drift)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines if found.models else ["No model has been registered yet."])


def show_models(ctx: RunContext) -> None:
    """All models as an artifact of the run that is under way."""
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(as_markdown(glance(ctx)), key="models", description="Champions at a glance")


def age(hours: float | None) -> str:
    """Hours as a person says them."""
    if hours is None:
        return ""
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"


def _model(ctx: RunContext, name: str) -> Model:
    _, move = register.moves_of(ctx, name)[-1]
    hours = None
    with suppress(ValueError):
        since = datetime.fromisoformat(move.at)
        hours = (datetime.now(UTC) - since.replace(tzinfo=since.tzinfo or UTC)).total_seconds() / HOUR
    metrics, newest = {}, ""
    with suppress(MillraceError):
        results = lineage(ctx, find(ctx, name))["results"]
        report = ctx.load(EvalReport, results["evaluate"])
        metrics = {metric: round(one.value, 6) for metric, one in report.metrics.items()}
        newest = ctx.load(ValidSnapshot, results["validate"]).newest
    found = drift_pointer(ctx.store, name).read()
    if found is None or str(found.value["version"]) != move.version:
        return Model(name=name, version=move.version, hours=hours, metrics=metrics, rows_until=newest)
    alarms: Sequence[str] = found.value["alarms"]
    return Model(
        name=name,
        version=move.version,
        hours=hours,
        metrics=metrics,
        rows_until=newest,
        drift=", ".join(alarms) or "none",
        drift_hours=max(0.0, time.time() - found.value["at"]) / HOUR,
    )


def _asked(api_url: str, runs: dict[str, Any], sort: str) -> list[dict[str, Any]]:
    """Some runs; none where the server does not say."""
    body = {"flow_runs": {**runs, "parent_task_run_id": {"is_null_": True}}, "sort": sort, "limit": RUNS}
    headers = {"content-type": "application/json"}
    with suppress(OSError, ValueError):
        # Prefect's own client would take a second to import.
        with suppress(urllib.error.HTTPError):
            client = os.urandom(8).hex()
            token = json.loads(fetched(f"{api_url}/csrf-token?client={client}"))["token"]
            headers |= {"prefect-csrf-client": client, "prefect-csrf-token": token}
        request = urllib.request.Request(f"{api_url}/flow_runs/filter", json.dumps(body).encode(), headers)  # noqa: S310
        found: list[dict[str, Any]] = json.loads(fetched(request))
        return found
    return []

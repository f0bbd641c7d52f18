"""All models at a glance: champions with their age and figures, what monitoring found, last runs, what comes next."""

import json
import os
import re
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

RUNS, PLANNED = 5, 200
"""How many runs are shown, and how many planned ones are looked at."""
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
    last = _runs(api_url, {"state": {"type": {"not_any_": ["SCHEDULED"]}}}, "START_TIME_DESC", RUNS)
    coming = _runs(api_url, {"state": {"type": {"any_": ["SCHEDULED"]}}}, "NEXT_SCHEDULED_START_TIME_ASC", PLANNED)
    # The next of each deployment: one that comes every ten minutes would hide the nightly ones.
    first = {one["deployment_id"]: one for one in reversed(coming)}
    known = [one for one in first if one]
    named = _asked(f"{api_url}/deployments/filter", {"deployments": {"id": {"any_": known}}}) if known else []
    names = {one["id"]: one["name"] for one in named}
    told = [
        {"name": names.get(number, one["name"]), "at": one["next_scheduled_start_time"] or ""}
        for number, one in first.items()
    ]
    return Glance(
        models=models,
        runs=tuple({"name": one["name"], "state": one["state_name"], "at": one["start_time"] or ""} for one in last),
        next=tuple(sorted(told, key=lambda one: one["at"])[:RUNS]),
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
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    text = "\n".join(lines if found.models else ["No model has been registered yet."])
    for title, runs in (("last runs", found.runs), ("next", found.next)):
        if runs:
            text += f"\n\n| {title} | | UTC |\n|---|---|---|"
            for run in runs:
                text += f"\n| {_cell(run['name'])} | {run.get('state', '')} | {run['at'][:16].replace('T', ' ')} |"
    return text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def show_models(ctx: RunContext) -> None:
    """All models, the last runs and the next ones as an artifact of the run that is under way."""
    from prefect.artifacts import create_markdown_artifact
    from prefect.settings import get_current_settings

    found = glance(ctx, get_current_settings().api.url or "")
    create_markdown_artifact(as_markdown(found), key="models", description="Champions at a glance")


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


def _runs(api_url: str, runs: dict[str, Any], sort: str, most: int) -> list[dict[str, Any]]:
    body = {"flow_runs": {**runs, "parent_task_run_id": {"is_null_": True}}, "sort": sort, "limit": most}
    return _asked(f"{api_url}/flow_runs/filter", body)


def _asked(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What the server has of that kind; nothing where it does not say."""
    headers = {"content-type": "application/json"}
    with suppress(OSError, ValueError):
        # Prefect's own client would take a second to import.
        with suppress(urllib.error.HTTPError):
            client = os.urandom(8).hex()
            csrf = re.sub(r"/\w+/filter$", f"/csrf-token?client={client}", url)
            token = json.loads(fetched(csrf))["token"]
            headers |= {"prefect-csrf-client": client, "prefect-csrf-token": token}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310
        found: list[dict[str, Any]] = json.loads(fetched(request))
        return found
    return []

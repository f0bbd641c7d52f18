"""The commands that look after models: `millrace monitor` and `millrace retrain`."""

import json
import sys
import time
from collections.abc import Sequence
from typing import get_args

from rich.console import Console
from rich.markup import escape

from components.context import open_context
from components.contracts.errors import ConfigError
from components.contracts.placement import Placement
from components.monitor import REPORT, said_of
from components.retrain import Asked, Reason, decide
from flows import mlflow_server, server, settings
from flows.again import Order as Again
from flows.again import claimed, newcomers, recipe_for
from flows.console import Terminal
from flows.launch import launch
from flows.watched import Order, watched

DRIFT = 3
"""The exit code where rows have moved."""


def watch(placement: Placement, order: Order, *, as_json: bool) -> int:
    """Say what moved; returns the exit code."""
    placement = mlflow_server.found(placement)
    settings.export(placement, "")
    ctx = open_context(placement, f"{order.model.partition('@')[0]}-monitoring", Terminal())
    report = watched(order, ctx)
    path = ctx.store.open(ctx.store.artifact("monitor", report.fingerprint).standing(), REPORT)
    if as_json:
        sys.stdout.write(json.dumps({**report.model_dump(mode="json"), "page": str(path)}, indent=1) + "\n")
        return DRIFT if report.alarms else 0
    out = Console(highlight=False, soft_wrap=True)
    out.print(f"  {escape(report.name)} version {report.version}: {escape(said_of(report))}")
    for one in sorted(report.found, key=lambda one: (not one.alarm, -one.size)):
        mark = "[red]moved[/red]" if one.alarm else "[dim]alike[/dim]"
        told = f"{one.what}: {one.before}, now {one.now}"
        out.print(f"  {mark}  {escape(told)}  [dim]{one.size:.3f} of {one.least:g}[/dim]")
    if report.found:
        drawn = f"{report.false_alarms} of {report.draws} batches that have not moved would have been an alarm"
        out.print(f"  [dim]{drawn if report.draws else ''}[/dim]")
    out.print(f"  [dim]{escape(str(path))}[/dim]")
    return DRIFT if report.alarms else 0


def train_again(placement: Placement, asked: tuple[str, str, Sequence[str], str], *, as_json: bool) -> int:
    """Run the recipe of a model again, where that is worth it; returns the exit code."""
    model, recipe, overrides, reason = asked
    if reason not in get_args(Reason):
        allowed = ", ".join(get_args(Reason))
        raise ConfigError(
            "E_CONFIG", "there is no such reason", place="--reason", value=reason, allowed=allowed, action="name one"
        )
    found = mlflow_server.found(placement)
    settings.export(found, "")
    ctx = open_context(found, f"{model}-retraining", Terminal())
    order = Again(model=model, reason=reason, recipe=recipe, overrides=overrides)  # type: ignore[arg-type]
    name, changes, config = recipe_for(order, ctx)
    with claimed(ctx, model) as claim:
        if claim is None:
            return _skipped("another one is under way", as_json=as_json)
        known = Asked(reason=order.reason, now=time.time(), last=claim.last, new_rows=newcomers(order, config, ctx))
        decision = decide(config.retrain, known)
        if not decision.go:
            return _skipped(decision.why, as_json=as_json)
        claim.begin(order)
        code = 1
        try:
            code = launch(name, changes, [], as_json=as_json)
        finally:
            claim.ended(well=code in {0, 3})
    return code


def tell_the_truth(placement: Placement) -> None:
    """End and start again what went away.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, there is no Prefect server to be told.
    """
    running = server.required(placement, "reconcile")
    placement = mlflow_server.found(placement)
    settings.export(placement, running.api_url)
    from flows.reconcile import reconcile

    terminal = Terminal()
    ended = reconcile(open_context(placement), again=True, tell=terminal.note)
    for name in ended:
        terminal.note(f"run {name} went away; it is marked as crashed, and started again if a deployment started it")
    if not ended:
        terminal.note("every run that is said to run does")


def _skipped(why: str, *, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps({"state": "Skipped", "why": why}) + "\n")
    else:
        Terminal().note(f"not trained again: {why}")
    return 0

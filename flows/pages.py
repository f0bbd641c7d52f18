"""What the commands print that run no flow. Their answers go to standard output, progress and warnings to the other."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from components.contracts.errors import MillraceError
from components.contracts.placement import Placement
from flows import recipe_files
from flows.console import Terminal
from flows.pipeline import load_recipe, resolved

STATES = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "failed": "[red]✗[/red]"}


def recipes(placement: Placement, *, as_json: bool) -> None:
    """The shipped recipes and the user's own."""
    found, wrong = [], []
    for name in recipe_files.names(placement.recipes):
        try:
            config = load_recipe(name, (), None, placement.recipes)
        except MillraceError as error:
            wrong.append((name, error))
            continue
        proof = config.proof.model_dump()
        found.append({"name": name, "description": config.description, **proof})
    if as_json:
        _json(found)
    else:
        for one in found:
            floor = f"{one['metric']} {one['floor']:g}{' on a GPU' if one['device'] == 'gpu' else ''}"
            facts = ", ".join(filter(None, [one["data"], floor if one["floor"] else ""]))
            out, said = _out(), escape(one["description"])
            out.print(f"[bold]{escape(one['name'])}[/bold]  [dim]{escape(facts)}[/dim]")
            out.print(Padding(said, (0, 0, 0, 2)) if out.is_terminal else f"  {said}")
    for name, mistake in wrong:
        Terminal().warned(f"{name} cannot be read: {mistake.line()}")


def show(placement: Placement, recipe: str, overrides: Sequence[str], *, as_json: bool) -> None:
    """A recipe, resolved."""
    import yaml

    data = resolved(load_recipe(recipe, overrides, placement.data, placement.recipes))
    if as_json:
        _json(data)
    else:
        sys.stdout.write(yaml.safe_dump(data, sort_keys=False, width=120))


def schema() -> None:
    """The JSON Schema of recipes."""
    from flows.schema import recipe_schema

    _json(recipe_schema())


def step(
    placement: Placement, name: str, recipe: str, overrides: Sequence[str], given: Sequence[str], *, as_json: bool
) -> None:
    """Run one step."""
    from components.context import open_context
    from flows import mlflow_server, settings
    from flows.single_step import check_step, pairs, run_step

    check_step(name, "NAME")
    config = load_recipe(recipe, overrides, placement.data, placement.recipes)
    placement = mlflow_server.found(placement)
    inputs = pairs(given)
    settings.export(placement, "")
    ctx = open_context(placement, config.name, Terminal())
    ctx.rerun = ctx.reruns(())
    result = run_step(name, config, inputs, ctx)
    if as_json:
        _json({**ctx.outcomes[-1].model_dump(mode="json"), "result": result.model_dump(mode="json")})
    else:
        _out().print(f"{result.step} {result.fingerprint}".rstrip())


def score_rows(placement: Placement, order: Any, *, as_json: bool) -> None:
    """What was scored, and where it lies."""
    from components import score
    from components.context import open_context
    from flows import mlflow_server, settings
    from flows.scored import scored

    placement = mlflow_server.found(placement)
    settings.export(placement, "")
    ctx = open_context(placement, f"{order.model.partition('@')[0]}-scoring", Terminal())
    made = scored(order, ctx)
    places = [str(ctx.store.open(ctx.store.part("score", one.key).standing(), score.ROWS)) for one in made.parts]
    if as_json:
        _json({**made.model_dump(mode="json"), "files": places})
        return
    ledger, out = made.ledger, _out()
    out.print(f"  {ledger.rows_out if ledger else 0:,} rows scored by {escape(made.name)} version {made.version}")
    for reason, number in (ledger.dropped if ledger else {}).items():
        out.print(f"  {number:,} {reason}")
    out.print(f"  [dim]{escape(places[0])}{f' and {len(places) - 1} more' if places[1:] else ''}[/dim]")
    if order.to:
        out.print(f"  [dim]{made.delivered} of {len(places)} parts delivered now, the others before[/dim]")


def doctor(placement: Placement, *, as_json: bool) -> int:
    """Every check; returns the exit code."""
    from flows.doctor import diagnose

    found = diagnose(placement)
    if as_json:
        _json({**found.model_dump(mode="json"), "healthy": found.healthy})
    else:
        out = _out()
        for check in found.checks:
            out.print(f"  {STATES[check.state]} {check.name:<10} {escape(check.said)}")
            if check.fix:
                out.print(f"    {'':<10} [dim]{escape(check.fix)}[/dim]")
        out.print("\n  settings")
        for name, value in found.settings.items():
            out.print(f"    {name:<16} [dim]{escape(value)}[/dim]")
    return 0 if found.healthy else 1


def gc(placement: Placement, keep_days: float, *, dry_run: bool, as_json: bool) -> None:
    """What went, or would go."""
    from components.context import open_context
    from flows import mlflow_server, settings
    from flows.collection import abandoned, collected

    mlflow_server.check_tracking(placement)
    placement = mlflow_server.found(placement)
    settings.export(placement, "")
    ctx = open_context(placement)
    with Console(stderr=True).status("looking through the store"):
        kept, gone = collected(ctx.store, ctx.tracker, keep_days=keep_days, really=not dry_run)
        gone += abandoned(placement.home, keep_days=keep_days, really=not dry_run)
    kinds = ("record", "bytes", "unfinished", "environment")
    total = {what: sum(one.bytes for one in gone if one.what == what) for what in kinds}
    if as_json:
        _json({"dry_run": dry_run, "removed": [vars(one) for one in gone], "bytes": total})
        return
    out = _out()
    for one in gone:
        out.print(f"  {one.what:<11}{one.bytes:>14,} B  [dim]{escape(one.place)}[/dim]")
    would = "would go" if dry_run else "went"
    out.print(
        f"  kept: what {kept.models} registered models, {kept.runs} runs and the last results of each recipe name"
    )
    freed = sum(total.values()) - total["record"]
    out.print(f"  {len(gone)} things {would}; {freed / 1e6:,.1f} MB freed")
    if total["record"]:
        soon = f"{total['record'] / 1e6:,.1f} MB"
        out.print(f"  [dim]{soon} more are freed when this runs again in seven days: readers may still need them[/dim]")


def up(placement: Placement) -> int:
    """What came up; returns the exit code."""
    from flows import local_servers

    terminal = Terminal()
    with terminal.out.status("starting"):
        local_servers.up(placement, terminal.note)
    terminal.note("`make deploy` lets the Prefect pages start runs, `make down` ends all of it")
    return 0


def down(placement: Placement, *, force: bool) -> None:
    """What was ended."""
    from flows import local_servers

    terminal = Terminal()
    with terminal.out.status("ending"):
        local_servers.down(placement, terminal.note, force=force)


def status(placement: Placement, *, as_json: bool) -> int:
    """How each service stands; returns the exit code."""
    from flows import local_servers

    found = local_servers.status(placement)
    seen = _seen(placement, found)
    if as_json:
        _json({"services": [one.model_dump() for one in found], **seen.model_dump()})
    else:
        table = Table("service", "state", "address", "process", "log", box=None, header_style="dim")
        for one in found:
            colour = {"down": "red", "starting": "yellow"}.get(one.state, "green")
            process = str(one.process) if one.process else ""
            table.add_row(one.name, f"[{colour}]{one.state}[/{colour}]", escape(one.address), process, escape(one.log))
        _out().print(table)
        _show(seen)
    return 0 if all(one.state in {"up", "elsewhere"} for one in found) else 1


def _seen(placement: Placement, services: Sequence[Any]) -> Any:
    """Models and runs; the store and the server are only read."""
    from components.context import open_context
    from flows.glance import glance

    ready = {one.name: one.address for one in services if one.state in {"up", "elsewhere"}}
    address = placement.prefect_api_url.rstrip("/") or (f"{ready['prefect']}/api" if "prefect" in ready else "")
    return glance(open_context(placement), address)


def _show(seen: Any) -> None:
    from flows.glance import age

    out = _out()
    if seen.models:
        table = Table(
            "model", "version", "champion for", "test part", "rows until", "drift", box=None, header_style="dim"
        )
        for one in seen.models:
            figures = ", ".join(f"{name} {value:.3f}" for name, value in list(one.metrics.items())[:2])
            colour = "" if one.drift in {"", "none"} else "red"
            drift = f"[{colour}]{escape(one.drift)}[/{colour}]" if colour else one.drift
            drift += f" [dim]{age(one.drift_hours)} ago[/dim]" if one.drift else "[dim]not looked at[/dim]"
            table.add_row(escape(one.name), one.version, age(one.hours), figures, one.rows_until[:16], drift)
        out.print(table)
    for title, runs in (("last", seen.runs), ("next", seen.next)):
        for one in runs:
            out.print(f"  [dim]{title} {one['at'][:16]}[/dim]  {escape(one['name'])}  {one.get('state', '')}")


def deploy(placement: Placement, when: tuple[str, str], elsewhere: Sequence[str]) -> int:
    """What was deployed; returns the exit code."""
    from flows.deploy import deploy as put
    from flows.schedules import told

    terminal = Terminal()
    with terminal.out.status("deploying"):
        running, deployments = put(placement, *when, elsewhere=elsewhere)
    for one in deployments:
        times = ", ".join(told(schedule) for schedule in one.get("schedules", ()))
        terminal.note(f"{one['entrypoint'].rpartition(':')[2] + '/' + one['name']:<32}{times}")
    terminal.note(f"start them at {running.address}/deployments; they run where a worker is up (`millrace status`)")
    return 0


def _out() -> Console:
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def _json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")

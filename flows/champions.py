"""Who is champion, who was before, and a person's word about it; a registry's alias that says otherwise is mended."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape

from components import register
from components.context import RunContext, open_context
from components.contracts.artifacts import Approval
from components.contracts.errors import ConfigError
from components.contracts.placement import Placement
from flows import mlflow_server, settings
from flows.console import Terminal

HOW = {
    "run": "by its run",
    "approved": "approved by",
    "forced": "gate overridden by",
    "person": "promoted by",
    "rollback": "rolled back by",
}


def champions(placement: Placement, name: str, *, as_json: bool) -> None:
    """Every model's champion, or everything that `name` had, newest last."""
    ctx = _opened(placement)
    known = register.names(ctx)
    chosen = [_known(name, known)] if name else known
    mended = [one for one in chosen if register.mirror(ctx, one)]
    found = {
        one: [{"epoch": epoch} | move.model_dump() for epoch, move in register.moves_of(ctx, one)] for one in chosen
    }
    if as_json:
        sys.stdout.write(json.dumps({"champions": found, "mended": mended}, indent=1) + "\n")
        return
    out = Console(highlight=False, soft_wrap=True)
    for one, moves in found.items():
        for move in moves if name else moves[-1:]:
            out.print(_line(one, move))
    if not found:
        out.print("  no model has been registered yet")
    for one in mended:
        Terminal().note(f"the registry's alias of {one} said otherwise; it is mended")


def promote(placement: Placement, name: str, version: str, approval: Approval, *, as_json: bool) -> None:
    """Make a registered version the champion."""
    ctx = _opened(placement)
    _say(
        ctx, _known(name, register.names(ctx)), moved=register.promote_by(ctx, name, version, approval), as_json=as_json
    )


def roll_back(placement: Placement, name: str, approval: Approval, *, as_json: bool) -> None:
    """Bring back the champion before."""
    ctx = _opened(placement)
    _say(ctx, _known(name, register.names(ctx)), moved=register.roll_back(ctx, name, approval), as_json=as_json)


def _opened(placement: Placement) -> RunContext:
    mlflow_server.check_tracking(placement)
    placement = mlflow_server.found(placement)
    settings.export(placement, "")
    return open_context(placement, "by hand", Terminal())


def _known(name: str, known: list[str]) -> str:
    if name not in known:
        raise ConfigError(
            "E_CONFIG",
            "no model of that name was ever champion",
            place="NAME",
            value=name,
            allowed=", ".join(known) or "none yet",
            action="name one of these, or run a recipe first",
        )
    return name


def _say(ctx: RunContext, name: str, *, moved: bool, as_json: bool) -> None:
    epoch, now = register.moves_of(ctx, name)[-1]
    record = {"name": name, "moved": moved, "epoch": epoch} | now.model_dump()
    if as_json:
        sys.stdout.write(json.dumps(record, indent=1) + "\n")
        return
    Console(highlight=False, soft_wrap=True).print(
        _line(name, record) + ("" if moved else "  [dim]it was before[/dim]")
    )


def _line(name: str, move: dict[str, Any]) -> str:
    how = "approved" if move["how"] == "run" and move["who"] else move["how"]
    said = " ".join([HOW[how], *([f"{move['who']}: {move['why']}"] if move["who"] else [])])
    return (
        f"  [bold]{escape(name)}[/bold] version {escape(move['version'])}  "
        f"[dim]{move['epoch']}. {move['at'] or 'time unknown'}, {escape(said)}[/dim]"
    )

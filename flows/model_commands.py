"""Commands about registered models: who is champion, who becomes it, who answers."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from components.contracts.artifacts import Approval

Model = Annotated[str, typer.Argument(help="a model's name in the registry: its recipe's, unless register.name is set")]
Who = Annotated[str, typer.Option(help="who decides; this user if not given")]
Listed = Annotated[bool, typer.Option("--json", help="as JSON")]


def add(app: typer.Typer) -> None:
    """Make them commands of `app`."""
    app.command("champions")(list_champions)
    app.command("promote")(promote)
    app.command("rollback")(rollback)
    app.command("monitor")(monitor)
    app.command("retrain")(retrain)
    app.command("score")(score)
    app.command("serve")(serve)


def score(
    model: Annotated[str, typer.Argument(metavar="NAME[@ALIAS]", help="a registered model; the champion if no alias")],
    source: Annotated[str, typer.Argument(help="a file, a folder or a recipe; its own if not given")] = "",
    overrides: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="change the recipe")] = [],  # noqa: B006
    *,
    keep: Annotated[list[str], typer.Option(metavar="COLUMN", help="a column to keep beside the predictions")] = [],  # noqa: B006
    to: Annotated[str, typer.Option(help="a folder, s3://…, {kind: sql, url: …, table: …} or {kind: delta, …}")] = "",
    as_json: Listed = False,
) -> None:
    """Score every row of a source; what this version has scored before is not scored again."""
    from flows import settings
    from flows.pages import score_rows
    from flows.scored import Order

    order = Order(model=model, source=source, overrides=overrides, keep=keep, to=to)
    score_rows(settings.read(), order, as_json=as_json)


def monitor(
    model: Annotated[str, typer.Argument(metavar="NAME[@ALIAS]", help="a registered model; the champion if no alias")],
    source: Annotated[str, typer.Argument(help="a file, a folder or a recipe; the prediction log if not given")] = "",
    overrides: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="change the recipe")] = [],  # noqa: B006
    *,
    hours: Annotated[float, typer.Option(min=0.01, help="how far back the prediction log is read")] = 24.0,
    simulate_drift: Annotated[float, typer.Option(min=0, help="move the rows by so many deviations first")] = 0.0,
    as_json: Listed = False,
) -> None:
    """Hold new rows against those that a model was tested on; exit code 3 where they have moved."""
    from flows import settings
    from flows.operate import watch
    from flows.watched import Order

    order = Order(model=model, source=source, overrides=overrides, hours=hours, simulate=simulate_drift)
    code = watch(settings.read(), order, as_json=as_json)
    if code:
        raise typer.Exit(code)


def retrain(
    model: Annotated[str, typer.Argument(help="a registered model")],
    recipe: Annotated[str, typer.Argument(help="a recipe of it; the one that made the champion if not given")] = "",
    overrides: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="change the recipe")] = [],  # noqa: B006
    *,
    reason: Annotated[
        str, typer.Option(help="hand, data, drift, performance or schedule: all but hand ask retrain.on and the window")
    ] = "hand",
    as_json: Listed = False,
) -> None:
    """Train a model again by the recipe that made it, where its section `retrain` finds that worth it."""
    from flows import settings
    from flows.operate import train_again

    code = train_again(settings.read(), (model, recipe, overrides, reason), as_json=as_json)
    if code:
        raise typer.Exit(code)


def serve(
    models: Annotated[
        list[str], typer.Argument(metavar="NAME[@ALIAS]…", help="registered models; champion if no alias")
    ],
    overrides: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="limits, engine, log: batch_rows=64, engine=onnx")
    ] = [],  # noqa: B006
    *,
    address: Annotated[str, typer.Option(help="where to listen; one that others reach needs a token")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=64, help="processes")] = 1,
) -> None:
    """Answer over HTTP with registered models, in MLflow's wire format; a new champion takes over by itself."""
    from flows import serving, settings
    from flows.console import Terminal

    order = serving.Order(models=models, address=address, port=port, workers=workers, overrides=overrides)
    serving.serve(settings.read(), order, Terminal().note)


def promote(
    name: Model,
    version: Annotated[int, typer.Argument(min=1, help="a version of it in the registry")],
    why: Annotated[str, typer.Option(help="the reason, kept for good")],
    who: Who = "",
    *,
    as_json: Listed = False,
) -> None:
    """Make a registered version the champion, whatever stood before."""
    from flows import champions, settings

    champions.promote(settings.read(), name, str(version), approval_of(who, why), as_json=as_json)


def rollback(
    name: Model,
    why: Annotated[str, typer.Option(help="the reason, kept for good")],
    who: Who = "",
    *,
    as_json: Listed = False,
) -> None:
    """Bring back the champion that stood before; the one that stands does not come back by itself."""
    from flows import champions, settings

    champions.roll_back(settings.read(), name, approval_of(who, why), as_json=as_json)


def list_champions(
    name: Annotated[str, typer.Argument(help="a model, to see everything that it had; all models' if not given")] = "",
    *,
    as_json: Listed = False,
) -> None:
    """Who is champion, since when, by whom and why; mends the registry's alias where it says otherwise."""
    from flows import champions, settings

    champions.champions(settings.read(), name, as_json=as_json)


def approval_of(who: str, why: str) -> "Approval":
    """A person's word; of this user where nobody is named."""
    import getpass

    from components.contracts.artifacts import Approval

    return Approval(who=who or getpass.getuser(), why=why)

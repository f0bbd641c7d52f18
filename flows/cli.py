"""The `millrace` command: thin, and quick to say what it can do. Everything heavy is imported when it is needed."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from components.contracts.errors import InterruptedRunError, MillraceError
from flows import model_commands
from flows.model_commands import Listed, Who, approval_of

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Deep learning on big data: from raw rows to a registered model, as one resumable flow.",
)

Recipe = Annotated[str, typer.Argument(help="name of a shipped recipe, or the path of a YAML file")]
Overrides = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="change the recipe; repeatable")]
Json = Annotated[bool, typer.Option("--json", help="print the final record as one JSON object on standard output")]
Rerun = Annotated[list[str], typer.Option(metavar="STEP", help="run this step anew although nothing changed")]


@app.command()
def run(recipe: Recipe, overrides: Overrides = [], *, as_json: Json = False, rerun: Rerun = []) -> None:  # noqa: B006
    """Run a recipe; what has been done before is reused."""
    from flows.launch import launch

    _leave(launch(recipe, overrides, rerun, as_json=as_json))


@app.command()
def repeat(
    recipe: Recipe,
    overrides: Overrides = [],  # noqa: B006
    *,
    seeds: Annotated[int, typer.Option(min=0, help="how many seeds; 0: as many as the recipe is proved over")] = 0,
    as_json: Json = False,
) -> None:
    """Try a recipe with several seeds, on every fold where it has folds: mean and spread; registers nothing."""
    from flows.launch import launch

    _leave(launch(recipe, overrides, [], as_json=as_json, flow="repeating", seeds=seeds))


@app.command()
def tune(
    recipe: Recipe,
    overrides: Overrides = [],  # noqa: B006
    *,
    trials: Annotated[int, typer.Option(min=0, help="how many in all; 0: as many as the recipe says")] = 0,
    deployment: Annotated[str, typer.Option(help="trials run in its work pool; any-trial is one")] = "",
    as_json: Json = False,
) -> None:
    """Search for better values of the keys in the recipe's section `search`; writes the best as a recipe."""
    from flows.launch import launch

    _leave(launch(recipe, overrides, [], as_json=as_json, flow="tuning", trials=trials, deployment=deployment))


@app.command()
def approve(
    run: Annotated[str, typer.Argument(help="the run that waits, or was rejected")],
    why: Annotated[str, typer.Option(help="the reason, kept with the model")],
    who: Who = "",
    *,
    as_json: Json = False,
) -> None:
    """Let the package of a run through the gate, and run the rest."""
    from flows import settings
    from flows.launch import launch
    from flows.runs import approve as record_approval

    recipe, overrides = record_approval(settings.read(), run, approval_of(who, why))
    _leave(launch(recipe, overrides, [], as_json=as_json))


model_commands.add(app)


@app.command()
def recipes(*, as_json: Listed = False) -> None:
    """List the recipes: what they read, and what they promise."""
    from flows import pages, settings

    pages.recipes(settings.read(), as_json=as_json)


@app.command()
def show(recipe: Recipe, overrides: Overrides = [], *, as_json: Listed = False) -> None:  # noqa: B006
    """Print a recipe with everything that it extends, is set to and leaves to defaults."""
    from flows import pages, settings

    pages.show(settings.read(), recipe, overrides, as_json=as_json)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for an editor."""
    from flows import pages

    pages.schema()


@app.command()
def step(
    name: Annotated[str, typer.Argument(help="the step to run")],
    recipe: Recipe,
    overrides: Overrides = [],  # noqa: B006
    given: Annotated[
        list[str],
        typer.Option("--input", metavar="STEP=FINGERPRINT", help="a result to start from; the last one if not"),
    ] = [],  # noqa: B006
    *,
    as_json: Listed = False,
) -> None:
    """Run one step of a recipe from results in the store, without a flow."""
    from flows import pages, settings

    pages.step(settings.read(), name, recipe, overrides, given, as_json=as_json)


@app.command()
def infer(
    source: Annotated[str, typer.Argument(help="a data file or folder, or a recipe whose source is meant")],
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Look at a source and print the checks that it passes, to be read, corrected and put into a recipe."""
    from flows import settings
    from flows.infer import checks_of

    print(checks_of(settings.read(), source, overrides), end="")  # noqa: T201


@app.command()
def doctor(*, as_json: Listed = False) -> None:
    """Check this machine and its settings, and say what to do."""
    from flows import pages, settings

    _leave(pages.doctor(settings.read(), as_json=as_json))


@app.command()
def gc(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    keep_days: Annotated[float, typer.Option(min=0, help="keep what runs of so many days made")] = 30.0,
    as_json: Listed = False,
) -> None:
    """Remove results that no model, no recent run and no recipe's last run names."""
    from flows import pages, settings

    pages.gc(settings.read(), keep_days, dry_run=dry_run, as_json=as_json)


@app.command()
def setup() -> None:
    """Create the local databases, so that the first run does not wait for them."""
    from flows.launch import setup_databases

    setup_databases()


@app.command()
def up() -> None:
    """Start the local Prefect server, MLflow server and worker, and wait until they answer."""
    from flows import pages, settings

    _leave(pages.up(settings.read()))


@app.command()
def down(
    *, force: Annotated[bool, typer.Option("--force", help="also while a run of a shell still needs them")] = False
) -> None:
    """End the local servers and the worker, with the runs that it has under way."""
    from flows import pages, settings

    pages.down(settings.read(), force=force)


@app.command()
def status(*, as_json: Listed = False) -> None:
    """Say which local servers run, and where; exit code 1 unless all do."""
    from flows import pages, settings

    _leave(pages.status(settings.read(), as_json=as_json))


@app.command()
def reconcile() -> None:
    """End runs whose process went away, in Prefect and MLflow, and start those of deployments again, once."""
    from flows import operate, settings

    operate.tell_the_truth(settings.read())


@app.command()
def deploy(
    *,
    cron: Annotated[str, typer.Option(help="when to retrain, instead of what prefect.yaml says")] = "",
    timezone: Annotated[str, typer.Option(help="the zone of those times, such as Europe/Berlin")] = "",
    pool: Annotated[
        list[str],
        typer.Option(metavar="NAME[:RUNS[:KIND]]", help="a work pool for the steps that MILLRACE_PLACES names"),
    ] = [],  # noqa: B006
) -> None:
    """Put the deployments on the Prefect server: what its pages can start, and what starts by itself."""
    from flows import pages, settings

    _leave(pages.deploy(settings.read(), (cron, timezone), pool))


@app.command()
def worker(*, pool: Annotated[str, typer.Option(help="the work pool to take runs from")] = "millrace") -> None:
    """Be a worker, here in the foreground, for the Prefect server that is up or set."""
    from flows import settings
    from flows.worker import work

    _leave(work(settings.read(), pool))


def _leave(code: int) -> NoReturn:
    """End without Python's own tear-down, which waits for threads of libraries that have nothing left to do."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """The console script: a user's mistake and a fault of the machine end in one line and their exit code."""
    from components.adapters.local_files import as_fault

    try:
        app()
    except MillraceError as error:
        _fail(error)
    except KeyboardInterrupt:
        _fail(InterruptedRunError("E_INTERRUPTED", "asked to stop before anything began", action="run it again"))
    except OSError as error:
        fault = as_fault(error, error.filename or Path.cwd())
        if fault is None:
            raise
        _fail(fault)


def _fail(error: MillraceError) -> NoReturn:
    from flows.console import Terminal

    Terminal().failed(error)
    _leave(error.exit_code)


if __name__ == "__main__":
    main()

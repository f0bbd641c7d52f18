"""The `millrace` command: thin, and quick to say what it can do. Everything heavy is imported when it is needed."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from components.contracts.errors import InterruptedRunError, MillraceError

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
def approve(
    run: Annotated[str, typer.Argument(help="the run that waits, or was rejected")],
    why: Annotated[str, typer.Option(help="the reason, kept with the model")],
    who: Annotated[str, typer.Option(help="who approves; this user if not given")] = "",
    *,
    as_json: Json = False,
) -> None:
    """Let the package of a run through the gate, and run the rest."""
    import getpass

    from components.contracts.artifacts import Approval
    from flows import settings
    from flows.launch import launch
    from flows.runs import approve as record_approval

    approval = Approval(who=who or getpass.getuser(), why=why)
    recipe, overrides = record_approval(settings.read(), run, approval)
    _leave(launch(recipe, overrides, [], as_json=as_json))


@app.command()
def setup() -> None:
    """Create the local databases, so that the first run does not wait for them."""
    from flows.launch import setup_databases

    setup_databases()


@app.command()
def down() -> None:
    """End the local Prefect server."""
    from flows import server, settings

    ended = server.stop(settings.read())
    typer.echo(f"ended the Prefect server at {ended.address}" if ended else "no server was running", err=True)


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

"""Starting a run from the command line: what can be checked first is checked first, what is slow starts first.

The Prefect server comes up in the background while recipes are checked and libraries are imported; the training
server is started only if the store does not already hold the checkpoint.
"""

import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from components.adapters.local_files import as_fault
from components.contracts.errors import ConfigError, EnvironmentFault, InterruptedRunError, MillraceError
from components.contracts.placement import Placement
from components.train.devices import check_devices
from flows import mlflow_server, recipe_files, server, settings, tracking
from flows.cancelling import cancellable
from flows.console import Terminal
from flows.living import alive, gone
from flows.pipeline import load_recipe
from flows.plan import will_train
from flows.runs import RUN_TAG, Interruption, Run, RunRecord, open_run
from flows.single_step import check_step
from flows.stopping import interruptible

REJECTED = 3
DRAIN_SECONDS = 10.0


def launch(
    recipe: str, overrides: Sequence[str], rerun: Sequence[str], *, as_json: bool, flow: str = "training", **more: Any
) -> int:
    """Run `recipe` as a Prefect flow from this process; returns the exit code.

    `flow` is training, repeating or tuning, and `more` are parameters of it beside recipe and overrides.
    """
    terminal = Terminal()
    try:
        with interruptible():
            run, record = _checked_run(recipe, overrides, rerun, terminal, (flow, more))
    except MillraceError as error:
        return _failed(terminal, error, recipe, as_json=as_json)
    except OSError as error:
        fault = as_fault(error, error.filename or recipe)
        if fault is None:
            raise
        return _failed(terminal, fault, recipe, as_json=as_json)
    except Interruption:
        action = "run the same command to continue: finished steps are kept, and training goes on where it was"
        stopped = InterruptedRunError("E_INTERRUPTED", "the run was asked to stop", action=action)
        return _failed(terminal, stopped, recipe, as_json=as_json)
    if record.repeated:
        terminal.repeated(record)
    elif record.tuned:
        terminal.tuned(record, f"{_millrace()} run {record.tuned['recipe']}")
    else:
        terminal.summary(record, _next(run, record))
    if as_json:
        _print(record)
    return REJECTED if record.state == "Rejected" else 0


def _failed(terminal: Terminal, error: MillraceError, recipe: str, *, as_json: bool) -> int:
    terminal.failed(error)
    if as_json:
        state = "Interrupted" if isinstance(error, InterruptedRunError) else "Failed"
        _print(RunRecord(recipe=recipe, run="", state=state, error=error.line()))
    return error.exit_code


def _checked_run(
    recipe: str, overrides: Sequence[str], rerun: Sequence[str], terminal: Terminal, asked: tuple[str, dict[str, Any]]
) -> tuple[Run, RunRecord]:
    placement = settings.read()
    config = load_recipe(recipe, overrides, placement.data, placement.recipes)
    for step in rerun:
        check_step(step, "--rerun")
        if step == "register":
            action = "leave it out"
            raise ConfigError("E_CONFIG", "register always looks anew", place="--rerun", value=step, action=action)
    check_devices(config.train)
    mlflow_server.check_tracking(placement)
    placement = mlflow_server.found(placement)
    run = open_run(placement, recipe, config, overrides, rerun=rerun, progress=terminal)
    return run, _run(run, placement, terminal, asked)


def _run(run: Run, placement: Placement, terminal: Terminal, asked: tuple[str, dict[str, Any]]) -> RunRecord:
    began = time.perf_counter()
    prefect = server.ensure(placement)
    if prefect.started:
        terminal.note(f"Prefect server starting at {prefect.address}; it stays up for later runs, `make down` ends it")
    name, more = asked
    if name != "training" or will_train(run):
        from components import smoke
        from components.train import supervisor

        supervisor.prepare()
        smoke.prepare()
    settings.export(placement, prefect.api_url)
    flow = _imported(name)
    imports = time.perf_counter() - began
    server.wait(placement, prefect)
    waited = time.perf_counter() - began - imports
    if gone(placement):
        from flows.reconcile import reconcile

        for name in reconcile(run.ctx):
            terminal.note(f"run {name} went away earlier; it is now marked as crashed")
    place = f"{prefect.address}/runs" + (f" and {placement.mlflow_server}" if placement.mlflow_server else "")
    terminal.note(f"run {run.name} of {run.recipe}, seen at {place}, stored in {placement.store_place}")
    begun = time.perf_counter()
    with alive(run.ctx, run.name):
        as_flow(flow, run, prefect.api_url, **more)
    seconds = {
        "total": round(time.perf_counter() - begun, 3),
        "imports": round(imports, 3),
        "server_start": round(waited, 3),
    }
    return run.record(seconds)


def _imported(name: str) -> Any:
    """The flow of that name, with Prefect and MLflow imported side by side."""
    other = threading.Thread(target=_import_mlflow, daemon=True)
    other.start()
    flow = getattr(import_module(f"flows.{name}"), name)
    other.join()
    return flow


def _import_mlflow() -> None:
    # MLflow imports its SQL store late, when the first client is made; here it runs beside Prefect's import.
    for name in ("mlflow", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"):
        import_module(name)


def as_flow(flow: Any, run: Run, api_url: str, **parameters: Any) -> None:
    """Run `flow` here, for `run`; Prefect's pages can cancel it."""
    import httpx
    from prefect import tags

    from flows.runs import CURRENT

    token = CURRENT.set(run)
    try:
        with cancellable(api_url, run), _without_heartbeat(), tags(f"{RUN_TAG}:{run.name}"), tracking.beside(run):
            flow(run.recipe, overrides=list(run.overrides), **parameters)
    except httpx.HTTPError as error:
        raise EnvironmentFault(
            "E_SERVER_UNREACHABLE",
            f"the Prefect server stopped answering ({' '.join(str(error).split())[:200]})",
            place="prefect",
            action="run `millrace down` and the same command again: what was committed is reused",
        ) from error
    finally:
        CURRENT.reset(token)
        _drain()


def _without_heartbeat() -> Any:
    """Settings without the thread that costs a second at the end of every flow; a run's own file shows that it lives.

    `temporary_settings` would do the same in 0.1 s: it reads the environment and every file of settings again.
    """
    from prefect.context import SettingsContext, get_settings_context

    now = get_settings_context()
    flows = now.settings.flows.model_copy(update={"heartbeat_frequency": None})
    return SettingsContext(profile=now.profile, settings=now.settings.model_copy(update={"flows": flows}))


def _drain() -> None:
    """Send what Prefect's client still holds of the run: log lines and the events that end its tasks."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=DRAIN_SECONDS, at_exit=False)
    EventsWorker.drain_all(timeout=DRAIN_SECONDS, at_exit=False)


def _next(run: Run, record: RunRecord) -> list[tuple[str, str]]:
    if record.state in {"Rejected", "AwaitingApproval"}:
        return [
            (f"{_millrace()} approve {record.run} --why '…'", "let this package through all the same"),
            (_command(run, "train.max_epochs", 2 * run.config.train.max_epochs), "train longer"),
            (_command(run, "train.seed", run.config.train.seed + 1), "another seed"),
        ]
    other = "adult-mlp DATA=<folder>" if record.recipe != "adult-mlp" else "digits-cnn"
    return [
        (_command(run), "again: everything is reused"),
        (_command(run, "train.seed", run.config.train.seed + 1), "another seed: only what depends on it runs"),
        (f"make train RECIPE={other}", "another shipped recipe"),
    ]


def _command(run: Run, key: str = "", value: Any = None) -> str:
    """The command that starts this run again, with one setting changed."""
    changes = [one for one in run.overrides if not key or not one.startswith(f"{key}=")]
    changes += [f"{key}={value}"] if key else []
    if run.recipe in recipe_files.names() and Path("Makefile").is_file() and not any(" " in one for one in changes):
        data = f" DATA={run.ctx.placement.data}" if run.ctx.placement.data else ""
        return f"make train RECIPE={run.recipe}" + (f' SET="{" ".join(changes)}"' if changes else "") + data
    return " ".join([f"{_millrace()} run", run.recipe, *(f"--set {shlex.quote(one)}" for one in changes)])


def _millrace() -> str:
    """The command as this user can call it."""
    if shutil.which("millrace"):
        return "millrace"
    command = Path(sys.argv[0]).absolute()
    return str(command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command)


def _print(record: RunRecord) -> None:
    sys.stdout.write(record.model_dump_json(indent=1) + "\n")


def setup_databases() -> None:
    """Create Prefect's and MLflow's databases where they are missing, side by side."""
    placement = settings.read()
    environment = settings.for_service(settings.prefect_settings(placement, ""))
    (placement.home / "prefect").mkdir(parents=True, exist_ok=True)
    (placement.home / "logs").mkdir(parents=True, exist_ok=True)
    del environment["PREFECT_API_URL"]
    with (placement.home / "logs" / "setup.log").open("ab") as log:
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
        prefect = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=placement.home)
        settings.export(placement, "")
        from components.adapters.tracking import Tracker

        try:
            Tracker(placement).create()
        except EnvironmentFault as fault:
            if fault.code != "E_DATABASE" or placement.tracking_uri:
                raise
            from components.adapters.tracking_schema import upgrade

            copy = upgrade(placement.home / "mlflow" / "mlflow.db", placement.tracking)
            Terminal().note(f"MLflow's database was of an older release: upgraded, and the old one kept as {copy}")
        if prefect.wait():
            raise EnvironmentFault(
                "E_SERVER_SETUP",
                "Prefect's database could not be created",
                place=str(placement.home / "prefect"),
                action=f"read {log.name}",
            )

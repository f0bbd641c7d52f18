"""A run's own run in MLflow, begun beside what Prefect is told first: neither waits for the other."""

import json
import os
import platform
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from components.contracts.errors import ConflictError, MillraceError
from flows.runs import RUN_TAG, Run

UNFIT = re.compile(r"[^\w\-. /]")
"""What MLflow does not take in a parameter's name; column names may hold anything."""
LEFT_SECONDS = 10.0
"""So long an interrupted run waits for MLflow, to end there what has just begun."""
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def begin(run: Run) -> Future[None]:
    """Begin to note a run in MLflow; `begun` waits for it."""
    noted: Future[None] = Future()

    def work() -> None:
        try:
            _note(run)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            noted.set_exception(error)
        else:
            noted.set_result(None)

    run.beginning = noted
    threading.Thread(target=work, name="tracking", daemon=True).start()
    return noted


@contextmanager
def beside(run: Run) -> Iterator[None]:
    """Begin it beside the block, which has `begun`; it is ended where Prefect did not let the block come so far."""
    begin(run)
    try:
        yield
    except BaseException as error:
        if run.beginning is not None:
            ended(run, error)
        raise


def begun(run: Run) -> None:
    """Return when MLflow knows the run, and by which number Prefect knows it.

    Raises:
        EnvironmentFault: E_TRACKING and others of adapters/tracking.py.
    """
    (run.beginning or begin(run)).result()
    run.beginning = None
    run.ctx.tracker.tag({"prefect.flow_run_id": run.noted["prefect_run"]})


def ended(run: Run, error: BaseException | None) -> None:
    """End the run in MLflow with its true status: `error` is what ended it."""
    noted, run.beginning = run.beginning, None
    if noted is not None:
        # Whoever was to wait for it was interrupted.
        with suppress(TimeoutError):
            noted.exception(LEFT_SECONDS)
    lost = isinstance(error, ConflictError) and error.code == "E_LEASE"
    try:
        _end(run, "FINISHED" if error is None else "FAILED" if isinstance(error, Exception) and not lost else "KILLED")
    except MillraceError as second:
        if error is None:
            raise
        # The first error is the cause; this one often follows from it, such as a full disk.
        run.ctx.progress.warned(f"the run could not be ended in MLflow: {second}")


def _end(run: Run, status: str) -> None:
    waits = run.ctx.tracker.end(status)
    if waits:
        run.ctx.progress.warned(f"{waits}; the next run sends them")


def _note(run: Run) -> None:
    resolved = run.config.model_dump(mode="json", by_alias=True)
    tags = {RUN_TAG: run.name, "millrace.recipe": run.recipe}
    if commit := run.ctx.origin.get("git_commit"):
        # MLflow's own name: its pages show it.
        tags["mlflow.source.git.commit"] = commit
    run.ctx.tracker.send_left()
    run.ctx.tracker.start(f"{run.config.name}-{run.name}", flat(resolved), tags)
    written = yaml.dump(resolved, Dumper=DUMPER, sort_keys=False, allow_unicode=True)
    run.ctx.tracker.text("recipe.yaml", written)
    run.ctx.tracker.text("environment.json", json.dumps(_environment(), indent=1))


def _environment() -> dict[str, Any]:
    """What runs here: Python, the machine, every installed library."""
    # By the names of their folders: to read what each says of itself takes a tenth of a second.
    folders = [one.stem.partition("-") for place in sys.path for one in Path(place).glob("*.dist-info")]
    found = {name: version for name, _, version in folders}
    machine = {"python": platform.python_version(), "platform": platform.platform(), "processors": os.cpu_count()}
    return {**machine, "libraries": dict(sorted(found.items(), key=lambda one: one[0].lower()))}


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """Nested settings as parameters of MLflow: dotted names of what it takes."""
    if isinstance(value, dict) and value:
        return {key: leaf for name, inner in value.items() for key, leaf in flat(inner, f"{place}{name}.").items()}
    return {
        UNFIT.sub("_", place.rstrip(".")): value if isinstance(value, (str, int, float, bool)) else json.dumps(value)
    }

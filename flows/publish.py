"""What a run tells the outside: its MLflow run, its Prefect artifacts, and the state that it ends in."""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run
from prefect.states import Completed

from components.context import Outcome
from components.contracts.artifacts import Checkpoint, Dataset, ModelVersion, Verdict
from components.contracts.errors import MillraceError
from flows import settings
from flows.pipeline import load_recipe
from flows.progress import Both, RunPage
from flows.runs import CURRENT, RUN_TAG, Interruption, Run, alive, open_run, remember

UNFIT = re.compile(r"[^\w\-. /]")
"""What MLflow does not take in a parameter's name; column names may hold anything."""


class OneLine(logging.Filter):
    """A user's mistake reaches the run's page as its line, without a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True; takes the traceback off."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (MillraceError, Interruption)):
            record.exc_info = None
        return True


@contextmanager
def running(recipe: str, overrides: Sequence[str], rerun: Sequence[str], epochs: int) -> Iterator[Run]:
    """The run of this flow, tracked, and ended in MLflow with its true status.

    It is the one that the command prepared, or one opened here from the settings.
    """
    run = CURRENT.get()
    changes = [*overrides, *([f"train.max_epochs={epochs}"] if epochs else [])]
    opened = run is None
    if run is None:
        placement = settings.read()
        run = open_run(
            placement, recipe, load_recipe(recipe, changes, placement.data, placement.recipes), changes, rerun=rerun
        )
    token, own = CURRENT.set(run), ExitStack()
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(OneLine())
    run.noted["prefect_run"] = str(flow_run.id or "")
    run.ctx.progress = Both(run.ctx.progress, RunPage(run.config.name))
    if opened:
        own.enter_context(alive(run.ctx.placement, run.name, run.noted["prefect_run"]))
    try:
        _track(run)
        yield run
        run.ctx.tracker.end("FINISHED")
    except BaseException as error:
        try:
            run.ctx.tracker.end("FAILED" if isinstance(error, Exception) else "KILLED")
        except MillraceError as second:
            # The first error is the cause; this one often follows from it, such as a full disk.
            run.ctx.progress.warned(f"the run could not be ended in MLflow: {second}")
        raise
    finally:
        own.close()
        CURRENT.reset(token)


def _track(run: Run) -> None:
    resolved = run.config.model_dump(mode="json", by_alias=True)
    tags = {RUN_TAG: run.name, "millrace.recipe": run.recipe, "prefect.flow_run_id": run.noted["prefect_run"]}
    run.ctx.tracker.start(f"{run.config.name}-{run.name}", _flat(resolved), tags)


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {key: leaf for name, inner in value.items() for key, leaf in _flat(inner, f"{place}{name}.").items()}
    return {
        UNFIT.sub("_", place.rstrip(".")): value if isinstance(value, (str, int, float, bool)) else json.dumps(value)
    }


def published(
    run: Run, dataset: Dataset, checkpoint: Checkpoint, verdict: Verdict, version: ModelVersion | None
) -> Any:
    """Note metrics, lineage and the report in MLflow and Prefect; the state that the run ends in."""
    tracker, report = run.ctx.tracker, verdict.report
    values = {f"test_{name}": figure.value for name, figure in report.metrics.items()}
    tracker.metrics(values)
    if any(one.step == "train" and one.reused for one in run.ctx.outcomes):
        for epoch, metrics in enumerate(checkpoint.history, 1):
            tracker.metrics(metrics, epoch)
    tracker.dataset(run.config.name, dataset.content, {"source": run.config.source.model_dump()["kind"]}, dataset.rows)
    page = _report(run, report.fingerprint)
    tracker.file(page)
    lineage = {f"millrace.{one.step}": one.fingerprint for one in run.ctx.outcomes if one.fingerprint}
    state = _state(run, verdict)
    tracker.tag({**lineage, "millrace.state": state, "millrace.verdict": verdict.verdict})
    link = tracker.artifact_link("report.html")
    run.noted |= {
        "state": state,
        "verdict": verdict.verdict,
        "checks": verdict.checks,
        "metrics": values,
        "report": link,
        "model": version.model_dump(include={"name", "version", "aliases"}) if version else {},
    }
    remember(run, report)
    _prefect_artifacts(run, report.metrics, link)
    return Completed(name=state, message="; ".join(verdict.checks))


def _report(run: Run, fingerprint: str) -> Path:
    record = run.ctx.store.artifact("evaluate", fingerprint).standing()
    return run.ctx.store.open(record, "report.html")


def _state(run: Run, verdict: Verdict) -> str:
    if verdict.verdict == "awaiting":
        return "AwaitingApproval"
    if verdict.verdict == "rejected":
        return "Rejected"
    return "Unchanged" if all(one.reused for one in run.ctx.outcomes) else "Completed"


def _prefect_artifacts(run: Run, metrics: Any, link: str) -> None:
    name = run.config.name
    table = [
        {"metric": key, "value": round(one.value, 4), "low": round(one.low, 4), "high": round(one.high, 4)}
        for key, one in metrics.items()
    ]
    create_table_artifact(table, key=f"{name}-metrics", description="On the test part, with 95 % intervals")
    if link.startswith("http"):
        create_link_artifact(link, key=f"{name}-report", link_text="Evaluation report")
    else:
        # A browser does not open file:// from a page that came over http.
        create_markdown_artifact(f"`{link}`", key=f"{name}-report", description="Evaluation report, a local file")
    create_markdown_artifact(_steps_table(run.ctx.outcomes), key=f"{name}-steps", description="What ran and why")


def _steps_table(outcomes: Sequence[Outcome]) -> str:
    lines = ["| step | | seconds | rows | why |", "|---|---|---|---|---|"]
    for one in outcomes:
        what = "reused" if one.reused else "ran"
        rows = "" if one.rows is None else f"{one.rows:,}"
        lines.append(f"| {one.step} | {what} | {one.seconds:.2f} | {rows} | {one.why} |")
    return "\n".join(lines)

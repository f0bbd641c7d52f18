"""What a run tells the outside: its MLflow run, its Prefect artifacts, and the state that it ends in."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.context import TagsContext
from prefect.runtime import flow_run
from prefect.states import Completed

from components import smoke
from components.adapters.model_registry import CARD, CHAMPION
from components.contracts.artifacts import Checkpoint, Compressed, Dataset, EvalReport, ModelVersion, Snapshot, Verdict
from components.train import supervisor
from components.train.devices import check_devices
from flows import artifacts, mlflow_server, settings, tracking
from flows.living import alive
from flows.patience import await_server
from flows.pipeline import load_recipe
from flows.plan import will_train
from flows.progress import Both, RunPage, mistakes_in_one_line
from flows.runs import CURRENT, Run, open_run, remember
from flows.told import PROMOTION, tell


@contextmanager
def running(recipe: str, overrides: Sequence[str], rerun: Sequence[str]) -> Iterator[Run]:
    """The run of this flow, tracked, and ended in MLflow with its true status.

    It is the one that the command prepared, or one opened here from the settings.
    """
    mistakes_in_one_line()
    run = CURRENT.get()
    opened = run is None
    if run is None:
        placement = mlflow_server.found(settings.read())
        config = load_recipe(recipe, overrides, placement.data, placement.recipes)
        check_devices(config.train)
        mlflow_server.check_tracking(placement)
        run = open_run(placement, recipe, config, overrides, rerun=rerun)
        if will_train(run):
            supervisor.prepare()
            smoke.prepare()
    token, own = CURRENT.set(run), ExitStack()
    run.noted["prefect_run"] = str(flow_run.id or "")
    run.ctx.progress = Both(run.ctx.progress, RunPage(run.config.name))
    # Tasks take over the run's tags, and ask the server about each of them whether it limits how many may run.
    own.enter_context(TagsContext(current_tags=set()))
    if opened:
        own.enter_context(alive(run.ctx, run.name, run.noted["prefect_run"]))
    try:
        tracking.begun(run)
        yield run
        run.ctx.store.fence()
        tracking.ended(run, None)
    except BaseException as error:
        tracking.ended(run, error)
        raise
    finally:
        own.close()
        CURRENT.reset(token)


def published(
    run: Run,
    data: tuple[Snapshot, Snapshot, Snapshot, Dataset],
    checkpoint: Checkpoint,
    verdict: Verdict,
    version: ModelVersion | None,
    *,
    smaller: Compressed | None = None,
) -> Any:
    """Note data quality, metrics, lineage and the report in MLflow and Prefect; the state that the run ends in."""
    run.ctx.store.fence()
    tracker, report, dataset = run.ctx.tracker, verdict.report, data[-1]
    values = {f"test_{name}": figure.value for name, figure in report.metrics.items()}
    lineage_of = (run.config.name, dataset.content)
    if version is None:
        tracker.metrics(values)
    else:
        tracker.model_metrics(version.name, str(version.version), values, lineage_of)
    if any(one.step == "train" and one.reused for one in run.ctx.outcomes):
        for epoch, metrics in enumerate(checkpoint.history, 1):
            tracker.metrics(metrics, epoch)
    tracker.dataset(*lineage_of, {"source": run.config.source.model_dump()["kind"]}, dataset.rows)
    for name in ("report.html", CARD):
        tracker.file(_stored(run, "evaluate", report.fingerprint, name))
    if smaller is not None:
        for name in (one for one in smaller.files if "/" not in one):
            tracker.file(_stored(run, "compress", smaller.fingerprint, name))
    tracker.file(_stored(run, "validate", data[1].fingerprint, "data.html"))
    lineage = {f"millrace.{one.step}": one.fingerprint for one in run.ctx.outcomes if one.fingerprint}
    state = _state(run, verdict)
    told = {"millrace.state": state, "millrace.verdict": verdict.verdict, "millrace.precision": checkpoint.precision}
    tracker.tag({**lineage, **told})
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
    await_server(run.ctx.progress.warned)
    _tell(run, version, report)
    artifacts.show_data(run, data, tracker.artifact_link("data.html"))
    artifacts.show_metrics(run, report.metrics, report.champion)
    artifacts.show_links(run, link, version)
    artifacts.show_steps(f"{run.config.name}-steps", run.ctx.outcomes)
    _rename(run, f"{run.config.name} v{version.version}" if version else f"{run.config.name} {state.lower()}")
    return Completed(name=state, message="; ".join(verdict.checks))


def _tell(run: Run, version: ModelVersion | None, report: EvalReport) -> None:
    """A new champion, for whoever wants to know."""
    registered = next((one for one in run.ctx.outcomes if one.step == "register"), None)
    if version is None or registered is None or registered.reused or CHAMPION not in version.aliases:
        return
    figures = ", ".join(f"{name} {one.value:.4g}" for name, one in report.metrics.items())
    why = f"version {version.version}, {figures} on the test part ({registered.why})"
    tell(PROMOTION, version.name, {"version": str(version.version), "why": why, "run": run.name})


def _rename(run: Run, name: str) -> None:
    """Say in the run's name what it made, which was not known when it began."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(run.noted["prefect_run"]), name=name)


def _stored(run: Run, step: str, fingerprint: str, name: str) -> Path:
    record = run.ctx.store.artifact(step, fingerprint).standing()
    return run.ctx.store.open(record, name)


def _state(run: Run, verdict: Verdict) -> str:
    if verdict.verdict == "awaiting":
        return "AwaitingApproval"
    if verdict.verdict == "rejected":
        return "Rejected"
    return "Unchanged" if all(one.reused for one in run.ctx.outcomes) else "Completed"

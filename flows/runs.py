"""One run of a pipeline: who it is, what it noted, and how it ended. Whether it lives: flows/living.py."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from components.adapters.pointers import Pointer
from components.adapters.store import Store
from components.context import Outcome, Progress, RunContext, Silent, open_context
from components.contracts.artifacts import Approval, EvalReport
from components.contracts.config import Frozen
from components.contracts.errors import ConfigError
from components.contracts.placement import Placement
from components.registered import lineage_pointer
from flows.origin import git_commit
from flows.pipeline import PipelineConfig

RUN_TAG = "millrace.run"


class Interruption(BaseException):
    """The process was asked to stop. Not an Exception, so that nothing takes it for a failure."""


class RunRecord(Frozen):
    """What `--json` prints: how a run ended and what it made."""

    recipe: str
    run: str
    state: str
    verdict: str = ""
    checks: tuple[str, ...] = ()
    metrics: dict[str, float] = Field({}, description="on the test part")
    model: dict[str, Any] = Field({}, description="name, version and aliases of the registered model")
    report: str = ""
    repeated: dict[str, Any] = Field({}, description="of trials: mean, spread, each seed's figures, and every trial")
    tuned: dict[str, Any] = Field({}, description="of a search: the best trial, its recipe, and every trial")
    steps: tuple[Outcome, ...] = ()
    seconds: dict[str, float] = Field({}, description="total, and apart from it imports and server_start")
    prefect_run: str = ""
    mlflow_run: str = ""
    error: str = ""


@dataclass(kw_only=True)
class Run:
    """A run in progress."""

    name: str
    recipe: str
    overrides: tuple[str, ...]
    config: PipelineConfig
    ctx: RunContext
    approval: Approval | None = None
    noted: dict[str, Any] = field(default_factory=dict)
    beginning: Future[None] | None = field(default=None, repr=False)
    """Of its run in MLflow, while nobody waits for that."""

    def approve(self, report: EvalReport) -> None:
        """Take up the approval that a person gave on the strength of this report, if any."""
        given = _approval(self.ctx.store, self.config.model_name, report.fingerprint).read()
        self.approval = Approval.model_validate(given.value) if given else None

    def record(self, seconds: dict[str, float]) -> RunRecord:
        """The final record."""
        return RunRecord(
            recipe=self.recipe,
            run=self.name,
            steps=tuple(self.ctx.outcomes),
            mlflow_run=self.ctx.tracker.run_id,
            seconds=seconds,
            **self.noted,
        )


CURRENT: ContextVar[Run | None] = ContextVar("millrace_run", default=None)


def open_run(
    placement: Placement,
    recipe: str,
    config: PipelineConfig,
    overrides: Sequence[str] = (),
    *,
    rerun: Sequence[str] = (),
    progress: Progress | None = None,
) -> Run:
    """A run of `config` at `placement`. Naming a step in `rerun` makes it run anew, now and not again."""
    ctx = open_context(placement, config.name, progress or Silent())
    ctx.rerun = ctx.reruns(rerun)
    name = os.urandom(6).hex()
    ctx.origin = {"description": config.description, "recipe": recipe, "run": name, "git_commit": git_commit()}
    return Run(name=name, recipe=recipe, overrides=tuple(overrides), config=config, ctx=ctx)


def remember(run: Run, report: EvalReport) -> None:
    """Keep what `approve` needs to start the same run again, and which results garbage collection has to keep."""
    value = {
        "recipe": run.recipe,
        "overrides": list(run.overrides),
        "model": run.config.model_name,
        "report": report.fingerprint,
        "waits": run.noted["verdict"] != "approved",
        "results": {one.step: one.fingerprint for one in run.ctx.outcomes if one.fingerprint},
        "ended": time.time(),
    }
    Pointer(run.ctx.store, f"runs/{run.name}").set(value)
    if package := value["results"].get("package"):
        made_of = {name: value[name] for name in ("recipe", "overrides", "results")}
        lineage_pointer(run.ctx.store, package).set(made_of)


def approve(placement: Placement, name: str, approval: Approval) -> tuple[str, list[str]]:
    """Let what run `name` evaluated through the gate; returns the recipe and overrides to run again.

    Raises:
        ConfigError: E_CONFIG, there is no such run.
    """
    store = open_context(placement).store
    known = Pointer(store, f"runs/{name}").read()
    if known is None:
        raise ConfigError(
            "E_CONFIG",
            "no run of that name ended here",
            place="RUN",
            value=name,
            action="take the name that it printed",
        )
    if not known.value["waits"]:
        raise ConfigError(
            "E_CONFIG", "this run waits for no approval", place="RUN", value=name, action="nothing is to be done"
        )
    _approval(store, known.value["model"], known.value["report"]).set(approval.model_dump())
    return known.value["recipe"], list(known.value["overrides"])


def _approval(store: Store, model: str, report: str) -> Pointer:
    """Where a person's word stands that what one report says is good enough for one model."""
    return Pointer(store, f"approvals/{model}/{report}")

"""One attempt of a search: a recipe with other values, up to train and no further, so that no test row is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import current_process
from typing import Any

from components.adapters.store import Store
from components.context import Progress, Silent, open_context
from components.contracts.config import Frozen
from components.contracts.errors import ConflictError, MillraceError
from components.contracts.placement import Placement
from flows.line import STAGES
from flows.pipeline import load_recipe
from flows.runs import RUN_TAG
from flows.studies import Judge, Past
from flows.trials import PARENT_TAG

LAST = "train"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What a worker elsewhere needs for one."""

    placement: Placement
    recipe: str
    overrides: tuple[str, ...]
    number: int
    values: Mapping[str, Any]
    figure: str
    more_is_better: bool
    run: str
    parent: str
    past: tuple[Past, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        """What it is called on pages and in the terminal."""
        return f"trial {self.number}"


class Attempted(Frozen):
    """What one attempt reached on validation rows: in each epoch, and in the one that was kept.

    `value` is None of one that was ended early, or failed with the `error`.
    """

    number: int
    history: tuple[float, ...] = ()
    value: float | None = None
    error: str = ""
    mlflow_run: str = ""


class WorseError(BaseException):
    """Earlier attempts were better at this epoch. Not an Exception, since nothing failed."""


def attempted(job: Attempt, progress: Progress | None = None, store: Store | None = None) -> Attempted:
    """Run one attempt here, in that store; what was committed before is reused."""
    # A Dask worker is a daemon, and Python lets daemons start no process: training is one.
    current_process()._config["daemon"] = False  # type: ignore[attr-defined] # noqa: SLF001
    config = load_recipe(job.recipe, job.overrides, job.placement.data, job.placement.recipes)
    ctx = open_context(job.placement, f"{config.name}-tuning", progress or Silent())
    ctx.kept, ctx.store = config.name, store or ctx.store
    history: list[float] = []
    judge = Judge(job.past, more_is_better=job.more_is_better) if job.past else None

    def seen(metrics: Mapping[str, float], epoch: int) -> None:
        history.append(metrics[job.figure])
        if judge is not None and judge.worse(history[-1], epoch):
            raise WorseError

    ctx.judge = seen
    tags = {RUN_TAG: job.run, PARENT_TAG: job.parent, "millrace.recipe": job.recipe, "millrace.trial": job.label}
    status, error, checkpoint = "FAILED", "", None
    try:
        ctx.tracker.start(f"{config.name} {job.label}", dict(job.values), tags)
        checkpoint = _trained(config, ctx)
        status = "FINISHED"
    except WorseError:
        status = "KILLED"
    except ConflictError:
        # The search itself was declared dead: that is no trial that failed.
        raise
    except MillraceError as found:
        history.clear()
        error = found.line()
    except BaseException as found:
        status = "FAILED" if isinstance(found, Exception) else "KILLED"
        raise
    finally:
        ctx.tracker.end(status)
    if checkpoint is not None:
        history = [one[job.figure] for one in checkpoint.history]
    return Attempted(
        number=job.number,
        history=tuple(history),
        value=checkpoint.metrics[job.figure] if checkpoint is not None else None,
        error=error,
        mlflow_run=ctx.tracker.run_id,
    )


def _trained(config: Any, ctx: Any) -> Any:
    found: dict[str, Any] = {}
    for name, stage in STAGES.items():
        found[name] = stage.run(stage.config(config), *[found[one] for one in stage.takes], ctx=ctx)
        if name == LAST:
            break
    return found[LAST]

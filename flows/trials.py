"""One recipe tried several times: with other seeds, on each fold of its split, with each change that it is proved over.

A trial goes up to evaluate and registers nothing. Each is a run of its own in MLflow, below the one that asked for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import current_process
from statistics import mean
from typing import Any

from components.adapters.store import Store
from components.context import Progress, Silent, open_context
from components.contracts.config import Frozen
from components.contracts.placement import Placement
from flows.line import STAGES
from flows.pipeline import PipelineConfig, load_recipe
from flows.runs import RUN_TAG, Run

LAST = "evaluate"
PARENT_TAG = "mlflow.parentRunId"
"""What MLflow's pages nest runs by."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One trial, as a worker elsewhere gets it."""

    placement: Placement
    recipe: str
    overrides: tuple[str, ...]
    seed: int
    fold: int | None
    change: str
    run: str
    parent: str

    @property
    def label(self) -> str:
        """What it is called on pages and in the terminal."""
        more = [f"fold {self.fold}"] if self.fold is not None else []
        return ", ".join([f"seed {self.seed}", *more, *filter(None, [self.change])])


class Trial(Frozen):
    """What one trial reached on its test part."""

    seed: int
    fold: int | None
    change: str = ""
    rows: int
    metrics: dict[str, float]
    baseline: dict[str, float]
    history: tuple[dict[str, float], ...]
    """What each epoch measured."""
    device: str
    train_seconds: float
    mlflow_run: str


class Summary(Frozen):
    """All trials together: a seed's figure is the mean over its trials; `spread` is the largest less the smallest.

    `baseline` is the mean over all trials of who sees no feature, `train_seconds` that of what training took when it
    was not reused, on the `device`.
    """

    mean: dict[str, float]
    baseline: dict[str, float]
    device: str
    train_seconds: float
    spread: dict[str, float]
    seeds: dict[str, list[float]]
    trials: tuple[Trial, ...]


def jobs_of(run: Run, seeds: int) -> list[Job]:
    """A job for every seed, fold and change; 0 seeds are as many as the recipe is proved over."""
    split = run.config.split
    folds: Sequence[int | None] = range(split.folds) if split.method == "k-fold" else [None]
    first = run.config.train.seed
    return [
        Job(
            # A trial on a worker does not wait for other workers.
            placement=run.ctx.placement.model_copy(update={"dask_address": ""}),
            recipe=run.recipe,
            overrides=run.overrides,
            seed=seed,
            fold=fold,
            change=change,
            run=run.name,
            parent=run.ctx.tracker.run_id,
        )
        for seed in range(first, first + (seeds or run.config.proof.seeds))
        for fold in folds
        for change in run.config.proof.vary or ("",)
    ]


def tried(job: Job, progress: Progress | None = None, store: Store | None = None) -> Trial:
    """Run one trial here, in that store; what was committed before is reused."""
    # A Dask worker is a daemon, and Python lets daemons start no process: training is one.
    current_process()._config["daemon"] = False  # type: ignore[attr-defined] # noqa: SLF001
    fold = [] if job.fold is None else [f"split.fold={job.fold}"]
    changes = [*job.overrides, f"train.seed={job.seed}", *fold, *filter(None, [job.change])]
    config = load_recipe(job.recipe, changes, job.placement.data, job.placement.recipes)
    # Results of its own: the recipe's last ones stay those of its runs.
    ctx = open_context(job.placement, f"{config.name}-trials", progress or Silent())
    ctx.kept, ctx.store = config.name, store or ctx.store
    tags = {RUN_TAG: job.run, PARENT_TAG: job.parent, "millrace.recipe": job.recipe, "millrace.trial": job.label}
    status = "FAILED"
    try:
        ctx.tracker.start(f"{config.name} {job.label}", {"train.seed": job.seed, "split.fold": job.fold}, tags)
        checkpoint, report = evaluated(config, ctx)
        metrics = {name: one.value for name, one in report.metrics.items()}
        ctx.tracker.metrics({f"test_{name}": value for name, value in metrics.items()})
        status = "FINISHED"
    except BaseException as found:
        status = "FAILED" if isinstance(found, Exception) else "KILLED"
        raise
    finally:
        ctx.tracker.end(status)
    took = ctx.store.artifact(checkpoint.step, checkpoint.fingerprint).standing().meta["seconds"]
    return Trial(
        seed=job.seed,
        fold=job.fold,
        change=job.change,
        rows=report.rows,
        metrics=metrics,
        baseline=report.baseline,
        history=checkpoint.history,
        device=checkpoint.device,
        train_seconds=round(took, 3),
        mlflow_run=ctx.tracker.run_id,
    )


def evaluated(config: PipelineConfig, ctx: Any) -> tuple[Any, Any]:
    """The checkpoint of a recipe and its report on the test part; what was done before is reused."""
    found: dict[str, Any] = {}
    for name, stage in STAGES.items():
        inputs = [found[one] for one in stage.takes]
        found[name] = stage.run(stage.config(config), *inputs, *([None] if name == LAST else []), ctx=ctx)
        if name == LAST:
            break
    return found["train"], found[LAST]


def summed_up(trials: Sequence[Trial]) -> Summary:
    """Means over folds and changes, then over seeds."""
    seeds = sorted({one.seed for one in trials})
    by_seed = [[one.metrics for one in trials if one.seed == seed] for seed in seeds]
    # A test part without rows of some kind lacks a metric; the mean is over those that have it.
    names = [name for name in dict.fromkeys(name for one in trials for name in one.metrics)
             if all(any(name in one for one in some) for some in by_seed)]  # fmt: skip
    figures = {name: [mean(one[name] for one in some if name in one) for some in by_seed] for name in names}
    blind = dict.fromkeys(name for one in trials for name in one.baseline)
    return Summary(
        baseline={name: mean(one.baseline[name] for one in trials if name in one.baseline) for name in blind},
        device=", ".join(sorted({one.device for one in trials})),
        train_seconds=round(mean(one.train_seconds for one in trials), 3),
        mean={name: mean(values) for name, values in figures.items()},
        spread={name: max(values) - min(values) for name, values in figures.items()},
        seeds=figures,
        trials=tuple(trials),
    )

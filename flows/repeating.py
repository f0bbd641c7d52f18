"""The repeating flow: a recipe over seeds and folds, and how far its figures lie apart."""

from typing import Annotated, Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed
from pydantic import Field

from flows.progress import Labelled
from flows.publish import running
from flows.runs import Run
from flows.settings import OF_FLOWS
from flows.trials import Job, Summary, Trial, jobs_of, summed_up, tried


@flow(name="repeating", flow_run_name="{recipe} repeated", **OF_FLOWS)
def repeating(
    recipe: str = "digits-cnn",
    overrides: Annotated[list[str], Field(max_length=100)] = [],  # noqa: B006 - Prefect reads the default for its form
    *,
    seeds: Annotated[int, Field(ge=0, le=100)] = 0,
) -> Any:
    """Try a recipe with several seeds, on every fold and with every change that proves it; nothing is registered.

    Args:
        recipe: Name of a recipe, or the path or address of a YAML file.
        overrides: Changes to the recipe, each as key.path=value, such as train.batch_size=128.
        seeds: How many seeds, counted from the recipe's own; 0 is as many as the recipe is proved over.
    """
    with running(recipe, overrides, []) as run:
        jobs = jobs_of(run, seeds)
        found = _on_workers(jobs, run) if run.ctx.placement.dask_address else [_here(job, run) for job in jobs]
        summary = summed_up(found)
        _publish(run, summary)
        return Completed(name="Completed", message=f"{len(found)} trials")


def _task(name: str, body: Any) -> Any:
    return task(name=name, cache_policy=NO_CACHE, persist_result=False)(body)


def _here(job: Job, run: Run) -> Trial:
    """One trial in this process, as a task that is named after it."""
    trial: Trial = _task(job.label, lambda: tried(job, Labelled(run.ctx.progress, job.label), run.ctx.store))()
    return trial


def _on_workers(jobs: list[Job], run: Run) -> list[Trial]:
    """All trials side by side on the Dask workers that the settings name."""

    def body() -> list[Trial]:
        names = [job.label for job in jobs]

        def told(done: int, _: Any) -> None:
            run.ctx.progress.advanced("trials", done, len(jobs), "trials")

        run.ctx.progress.started("trials")
        return run.ctx.compute.map(tried, jobs, 0, told, names=names)

    trials: list[Trial] = _task("trials", body)()
    return trials


def _publish(run: Run, summary: Summary) -> None:
    values = {
        f"test_{name}_{what}": value
        for what, figures in (("mean", summary.mean), ("spread", summary.spread))
        for name, value in figures.items()
    }
    run.ctx.tracker.metrics(values)
    rows = [
        {"metric": name, "mean": round(value, 4), "spread": round(summary.spread[name], 4)}
        | {f"seed {at}": round(one, 4) for at, one in enumerate(summary.seeds[name])}
        for name, value in summary.mean.items()
    ]
    create_table_artifact(
        rows, key=f"{run.config.name}-trials", description=f"{len(summary.trials)} trials: mean over seeds, and spread"
    )
    run.noted |= {"state": "Completed", "metrics": summary.mean, "repeated": summary.model_dump()}

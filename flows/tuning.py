"""The tuning flow: a recipe's keys varied by a search, each trial up to its validation rows, the winner as a recipe."""

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed
from pydantic import Field

from components.context import Outcome
from components.contracts.errors import ConfigError, EnvironmentFault, MillraceError
from components.contracts.fingerprint import digest
from components.reports.search import search_page
from flows.attempts import Attempt, Attempted, attempted
from flows.away import away
from flows.pipeline import load_recipe, resolved
from flows.progress import Brief
from flows.publish import running
from flows.runs import Run
from flows.search import shown
from flows.settings import OF_FLOWS
from flows.studies import Study
from flows.trials import evaluated
from flows.tuned import write_recipe

MOST_FAILURES = 5
"""Trials in a row that failed until a search gives up."""


@flow(name="tuning", flow_run_name="{recipe} tuned", **OF_FLOWS)
def tuning(
    recipe: str = "digits-cnn",
    overrides: Annotated[list[str], Field(max_length=100)] = [],  # noqa: B006 - Prefect reads the default for its form
    *,
    trials: Annotated[int, Field(ge=0, le=10_000)] = 0,
    deployment: str = "",
) -> Any:
    """Search for better values of a recipe's keys (its section `search`), and write the best as a recipe.

    Args:
        recipe: Name of a recipe with a section `search`, or the path or address of a YAML file.
        overrides: Changes to the recipe, each as key.path=value, such as search.trials=50.
        trials: How many in all, over all runs of this search; 0 leaves it to the recipe.
        deployment: Of the flow `attempt`, such as any-trial: trials run in its work pool.
    """
    with running(recipe, overrides, []) as run, closing(_opened(run)) as study:
        wanted = trials or run.config.search.trials
        failures = 0
        while (width := min(run.config.search.parallel, wanted - study.done)) > 0:
            for one in _tried(run, study, width, deployment):
                study.tell(one.number, one.history, one.value)
                failures = failures + 1 if one.error else 0
                if one.error:
                    run.ctx.progress.warned(f"trial {one.number} failed: {one.error}")
                if failures == MOST_FAILURES:
                    raise _hopeless(one)
        _publish(run, study)
        return Completed(name="Completed", message=f"{study.done} trials")


def _hopeless(last: Attempted) -> MillraceError:
    return EnvironmentFault(
        "E_TRAINING",
        f"{MOST_FAILURES} trials in a row failed, the last with: {last.error}",
        place="search.space",
        action="correct what fails, or take it out of the space, and run the same command again",
    )


def figure_of(run: Run) -> tuple[str, bool]:
    """The validation figure that is searched for, and whether more of it is better."""
    monitor = run.config.train.monitor
    objective: Any = run.config.objective
    return f"validation_{monitor}", monitor != "loss" and bool(objective.monitored[monitor])


def _opened(run: Run) -> Study:
    """The search's study; a recipe that could not be any trial is refused before the first.

    Raises:
        ConfigError: E_CONFIG, the recipe has no search, or a value of its space is none of the key's.
    """
    config = run.config.search
    if not config.space:
        raise ConfigError(
            "E_CONFIG",
            "the recipe says nothing to search for",
            place="search.space",
            allowed="{train.learning_rate: {low: 0.0001, high: 0.1, log: true}}, for example",
            action="add a section `search` with a `space`",
        )
    placement = run.ctx.placement
    for key, dimension in config.space.items():
        for edge in dimension.edges:
            load_recipe(run.recipe, [*run.overrides, *config.overrides({key: edge})], placement.data, placement.recipes)
    what = resolved(run.config)
    own = {name: _at(what, name) for name in config.space}
    # As many trials as are asked for belong to one search; what is proved or promised does not make another.
    sense = {name: one for name, one in what.items() if name not in {"proof", "gate", "register", "search", "name"}}
    name = f"{run.config.name}-{digest([sense, what['search'] | {'trials': 0, 'parallel': 0}])[:12]}"
    study = Study(placement.home / "studies", name, config, more_is_better=figure_of(run)[1])
    again = study.retake()
    if again:
        run.ctx.progress.warned(f"{again} trials of a search that was interrupted are tried again")
    if study.done:
        run.ctx.progress.warned(f"{study.done} trials of this search are done already")
    if all(dimension.holds(own[key]) for key, dimension in config.space.items()):
        study.begin(own)
    return study


def _at(what: Any, key: str) -> Any:
    """What the recipe has there; None where it has nothing."""
    for one in key.split("."):
        if isinstance(what, list):
            what = what[int(one)] if one.isdigit() and int(one) < len(what) else None
        else:
            what = what.get(one) if isinstance(what, dict) else None
    return what


def _tried(run: Run, study: Study, width: int, deployment: str) -> list[Attempted]:
    """So many trials side by side in a work pool or on the Dask workers of the settings, or in turn here."""
    figure, more_is_better = figure_of(run)
    past = tuple(study.past())
    jobs = []
    for _ in range(width):
        number, values = study.ask()
        jobs.append(
            Attempt(
                placement=run.ctx.placement.model_copy(update={"dask_address": ""}),
                recipe=run.recipe,
                overrides=(*run.overrides, *run.config.search.overrides(values)),
                number=number,
                values=values,
                figure=figure,
                more_is_better=more_is_better,
                run=run.name,
                parent=run.ctx.tracker.run_id,
                past=past,
            )
        )
    if deployment:
        return away(jobs, deployment, run.ctx.progress, study.done)
    if not run.ctx.placement.dask_address:
        return [_here(job, run) for job in jobs]
    names = [job.label for job in jobs]

    def told(done: int, _: Attempted) -> None:
        run.ctx.progress.advanced("trials", study.done + done, study.done + width, "trials")

    run.ctx.progress.started("trials")
    name = names[0] if width == 1 else f"{names[0]} to {names[-1]}"
    found: list[Attempted] = _task(name, lambda: run.ctx.compute.map(attempted, jobs, 0, told, names=names))
    return found


def _here(job: Attempt, run: Run) -> Attempted:
    """One trial in this process, as a task that is named after it and a line in the terminal."""
    began = time.perf_counter()
    run.ctx.progress.started(job.label)
    one: Attempted = _task(job.label, lambda: attempted(job, Brief(run.ctx.progress, job.label), run.ctx.store))
    said = f"{job.figure.replace('_', ' ')} " + (f"{one.value:.4g}" if one.value is not None else "")
    if one.value is None:
        said = "failed" if one.error else f"{said}{one.history[-1]:.4g}, ended early after {len(one.history)} epochs"
    values = ", ".join(f"{key} {shown(value)}" for key, value in job.values.items())
    seconds = round(time.perf_counter() - began, 3)
    run.ctx.progress.finished(Outcome(step=job.label, reused=False, why=f"{said} ({values})", seconds=seconds))
    return one


def _task(name: str, body: Any) -> Any:
    return task(name=name, cache_policy=NO_CACHE, persist_result=False)(body)()


def _publish(run: Run, study: Study) -> None:
    """Evaluate the winner, once; write it as a recipe; show all trials."""
    number, values, reached = study.best()
    changes = [*run.overrides, *run.config.search.overrides(values)]
    placement = run.ctx.placement
    figure = figure_of(run)[0]
    said = f"trial {number} of {study.done} in a search over {run.recipe}: {figure.replace('_', ' ')} {reached:.4g}"
    path = write_recipe(run.recipe, changes, placement.recipes or placement.home / "recipes", said)
    winner = load_recipe(str(path), (), placement.data, placement.recipes)
    report = _task("winner", lambda: evaluated(winner, run.ctx)[1])
    metrics = {f"test_{name}": one.value for name, one in report.metrics.items()}
    table, shares = study.table(), study.importances()
    run.ctx.tracker.metrics({**metrics, f"best_{figure}": reached})
    page = Path(placement.home / "studies" / f"{path.stem}.html")
    page.write_text(
        search_page(
            run.config.name, table, shares, values, figure=figure.replace("_", " "), recipe=str(path), number=number
        )
    )
    for one in (page, path):
        run.ctx.tracker.file(one)
    create_table_artifact(table, key=f"{run.config.name}-search", description=f"{study.done} trials, best: {said}")
    run.noted |= {
        "state": "Completed",
        "metrics": metrics,
        "report": str(page),
        "tuned": {"recipe": str(path), "trial": number, "values": values, "figure": figure, "reached": reached,
                  "importances": shares, "trials": table},
    }  # fmt: skip

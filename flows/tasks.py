"""Each step as a Prefect task: one line per step with its timeout.

A task is retried once, and only after a fault that may pass. Caching is ours, results are never persisted by Prefect,
and the context is not a parameter, since Prefect would walk through it.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from components import clean as clean_step
from components import evaluate as evaluate_step
from components import ingest as ingest_step
from components import package as package_step
from components import preprocess as preprocess_step
from components import register as register_step
from components import train as train_step
from components import validate as validate_step
from components.contracts.artifacts import Checkpoint, Compressed, Dataset, EvalReport, Verdict
from components.contracts.errors import EnvironmentFault
from components.gate import GateConfig
from flows.ahead import imported_ahead
from flows.elsewhere import placed
from flows.line import decided, shrunk
from flows.runs import CURRENT, Run

PASSING = frozenset({"E_IO", "E_SERVER_UNREACHABLE"})
"""Faults that may be over a few seconds later."""


def current() -> Run:
    """The run that this flow or task belongs to."""
    run = CURRENT.get()
    if run is None:
        raise RuntimeError("a step's task runs inside the training flow")
    return run


def _may_pass(_task: Any, _run: Any, state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, EnvironmentFault) and error.code in PASSING


def step_task(run: Callable[..., Any], name: str, hours: float) -> Any:
    """A step as a task, ended after `hours`."""

    def body(*arguments: Any) -> Any:
        now = current()
        where = dict(now.ctx.placement.places).get(name)
        return placed(now, name, where, run, arguments) if where else run(*arguments, ctx=now.ctx)

    return task(
        name=name,
        retries=1,
        retry_delay_seconds=2,
        retry_condition_fn=_may_pass,
        timeout_seconds=timedelta(hours=hours).total_seconds(),
        cache_policy=NO_CACHE,
        persist_result=False,
    )(body)


def _gate(config: GateConfig, report: EvalReport, compressed: Compressed | None, *, ctx: Any) -> Verdict:
    return decided(config, report, compressed, current().approval, ctx=ctx)


def _train(config: Any, dataset: Dataset, *, ctx: Any) -> Checkpoint:
    with imported_ahead(current().config):
        return train_step.run(config, dataset, ctx=ctx)


ingest = step_task(ingest_step.run, "ingest", hours=12)
validate = step_task(validate_step.run, "validate", hours=12)
clean = step_task(clean_step.run, "clean", hours=12)
preprocess = step_task(preprocess_step.run, "preprocess", hours=12)
train = step_task(_train, "train", hours=72)
package = step_task(package_step.run, "package", hours=1)
evaluate = step_task(evaluate_step.run, "evaluate", hours=6)
compress = step_task(shrunk, "compress", hours=6)
gate = step_task(_gate, "gate", hours=0.1)
register = step_task(register_step.run, "register", hours=1)

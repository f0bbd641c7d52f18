"""The side of G16 to G18 that is timed: `python -m tests.benchmarks.orchestration_child GOAL` prints pairs of seconds.

It is set up as the command is, with the Prefect server up, and checks that both sides did the same.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

STAGES = 10
PARTITIONS = 1_000
NO_OPS = 10_000
SETTLED_SECONDS = 1.5
"""Before a run is timed, so that the server does not still record the one before it."""


def pairs_of(ours, theirs, count):
    """Seconds of both, alternately and in turn first, after one warm-up."""
    found = []
    for number in range(count + 1):
        seconds = {}
        for which in (ours, theirs) if number % 2 else (theirs, ours):
            seconds[which] = which()
        found.append((seconds[ours], seconds[theirs]))
    return found[1:]


def clocked(function):
    def call():
        began = time.perf_counter()
        function()
        return time.perf_counter() - began

    return call


@contextmanager
def set_up():
    """This process as the command sets it up: the server's address, and Prefect imported."""
    from flows import server, settings

    placement = settings.read()
    running = server.ensure(placement)
    settings.export(placement, running.api_url)
    server.wait(placement, running)
    yield placement, running


def opened(placement, recipe="digits-cnn", progress=None):
    from flows.pipeline import load_recipe
    from flows.runs import open_run

    return open_run(placement, recipe, load_recipe(recipe), progress=progress)


def empty_run(placement, running, stages=0):
    """Seconds of a whole run of a pipeline of `stages` stages that do nothing; the state that it ended in."""
    from prefect import flow
    from prefect.states import Completed

    from flows.launch import as_flow
    from flows.living import alive
    from flows.publish import running as tracked
    from flows.settings import OF_FLOWS
    from flows.tasks import step_task

    done = []

    def nothing(*, ctx):
        done.append(ctx)

    stage = step_task(nothing, "nothing", hours=1)

    @flow(name="empty", flow_run_name="{recipe}", **OF_FLOWS)
    def empty(recipe: str, overrides: list[str]):
        with tracked(recipe, overrides, ()):
            for _ in range(stages):
                stage()
            return Completed(name="Completed")

    run = opened(placement)
    began = time.perf_counter()
    with alive(run.ctx, run.name):
        as_flow(empty, run, running.api_url)
    seconds = time.perf_counter() - began
    assert done == [run.ctx] * stages
    return seconds


@contextmanager
def stock_flow(running):
    """Seconds of a stock flow, run in a process that knows of us only the server's address."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    command = (sys.executable, "-m", "tests.benchmarks.orchestration_child", "stock")
    with tempfile.TemporaryDirectory() as home:
        settings = {"PREFECT_API_URL": running.api_url, "PREFECT_HOME": home}
        process = subprocess.Popen(
            command,
            env=kept | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

        def one():
            time.sleep(SETTLED_SECONDS)
            process.stdin.write("again\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield one
        process.stdin.close()
        process.wait()
        process.stdout.close()


def child_stock():
    from prefect import flow

    @flow
    def f():
        pass

    for _ in sys.stdin:
        print(clocked(f)(), flush=True)


def child_empty():
    with set_up() as (placement, running), stock_flow(running) as theirs:

        def ours():
            time.sleep(SETTLED_SECONDS)
            return empty_run(placement, running)

        return {"pairs": pairs_of(ours, theirs, 9), "checked": "both completed"}


def child_stages():
    with set_up() as (placement, running):

        def one(stages):
            time.sleep(SETTLED_SECONDS)
            return empty_run(placement, running, stages)

        found = [(more - none) / STAGES for more, none in pairs_of(lambda: one(STAGES), lambda: one(0), 11)]
        return {"pairs": [(seconds, 0.015) for seconds in found], "checked": f"{STAGES} stages"}


def child_stalls():
    class Clock:
        """Notes when anything was told of a step over partitions."""

        def __init__(self):
            self.times, self.step = [], ""

        def started(self, step):
            self.step = step

        def advanced(self, step, done, total, unit, note=""):
            if unit == "parts":
                self.times.append(time.perf_counter())

        def finished(self, outcome):
            if outcome.step in {"ingest", "validate", "clean", "preprocess"}:
                self.times.append(time.perf_counter())

        def warned(self, line):
            pass

    with set_up() as (placement, running), tempfile.TemporaryDirectory() as folder:
        from flows.launch import as_flow
        from flows.training import training

        data = Path(folder, "data")
        data.mkdir()
        for number in range(PARTITIONS):
            rows = [f"{number * 3 + row},{'yes' if (number + row) % 2 else 'no'}" for row in range(6)]
            (data / f"{number:04}.csv").write_text("n,label\n" + "\n".join(rows) + "\n")
        recipe = Path(folder, "table.yaml")
        recipe.write_text(
            f"name: table\nsource: {{kind: files, uri: {data}}}\nfeatures: [{{kind: number, columns: [n]}}]\n"
            "target: {kind: label, column: label}\nmodel: {kind: mlp}\nobjective: {kind: classification}\n"
            "train: {max_epochs: 1}\n"
        )
        pairs = []
        for _ in range(2):
            clock = Clock()
            run = opened(placement, str(recipe), clock)
            run.ctx.rerun = dict.fromkeys(("ingest", "validate", "clean", "preprocess"), len(pairs))
            as_flow(training, run, running.api_url)
            assert len(clock.times) >= 4 * PARTITIONS, len(clock.times)
            pairs.append((max(b - a for a, b in zip(clock.times, clock.times[1:], strict=False)), 1.0))
        return {"pairs": pairs, "checked": f"{run.ctx.outcomes[0].rows} rows"}


def child_digits():
    models = set()

    def fresh(home):
        placement = base.model_copy(update={"home": Path(home)})
        (placement.home / "mlflow").mkdir(parents=True)
        (placement.home / "mlflow" / "mlflow.db").write_bytes((base.home / "mlflow" / "mlflow.db").read_bytes())
        return opened(placement)

    def orchestrated():
        with tempfile.TemporaryDirectory() as home:
            run = fresh(home)
            began = time.perf_counter()
            as_flow(training, run, running.api_url)
            seconds = time.perf_counter() - began
            models.add(json.dumps(run.noted["metrics"]))
            return seconds

    def plain():
        with tempfile.TemporaryDirectory() as home:
            run = fresh(home)
            ctx, made = run.ctx, {}
            began = time.perf_counter()
            ctx.tracker.start("plain", {}, {})
            for name, stage in LINE.items():
                inputs = [made[one] for one in stage.takes]
                if name == "evaluate":
                    inputs.append(rival(ctx, run.config.model_name, inputs[0]))
                made[name] = stage.run(stage.config(run.config), *inputs, ctx=ctx)
            report = made["evaluate"]
            values = {f"test_{name}": one.value for name, one in report.metrics.items()}
            ctx.tracker.metrics(values)
            record = ctx.store.artifact("evaluate", report.fingerprint).standing()
            ctx.tracker.file(ctx.store.open(record, "report.html"))
            ctx.tracker.end("FINISHED")
            seconds = time.perf_counter() - began
            models.add(json.dumps(values))
            return seconds

    with set_up() as (base, running):
        # Prefect reads its settings when it is imported.
        from components.register import rival
        from flows.launch import as_flow
        from flows.line import STAGES as LINE
        from flows.training import training

        pairs = pairs_of(orchestrated, plain, 5)
        assert len(models) == 1, models
        return {"pairs": pairs, "checked": models.pop()[:40]}


def noop(item):
    return item


def ours_map():
    from components.adapters.compute import Compute

    result = Compute(workers=2).map(noop, range(NO_OPS), 0)
    assert sum(result) == NO_OPS * (NO_OPS - 1) // 2


def child_map():
    with set_up():
        from prefect import flow, task

        stock = task(noop)

        @flow
        def mapped():
            futures = stock.map(range(NO_OPS // 10))
            assert sum(future.result() for future in futures) == (NO_OPS // 10) * (NO_OPS // 10 - 1) // 2

        theirs = clocked(mapped)
        return {"pairs": pairs_of(clocked(ours_map), lambda: 10 * theirs(), 5), "checked": "equal"}


def child_dask():
    import dask

    def raw():
        tasks = [dask.delayed(noop, pure=False)(item) for item in range(NO_OPS)]
        result = dask.compute(*tasks, scheduler="threads", num_workers=2)
        assert sum(result) == NO_OPS * (NO_OPS - 1) // 2

    return {"pairs": pairs_of(clocked(ours_map), clocked(raw), 9), "checked": "equal"}


if __name__ == "__main__":
    said = globals()[f"child_{sys.argv[1]}"]()
    if said:
        print(json.dumps(said))

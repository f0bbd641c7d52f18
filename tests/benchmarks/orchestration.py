"""G16 to G18: what Prefect, and what Dask, cost around the work itself. The Prefect server is up for both sides.

Each case is timed by a child process in a home of its own (orchestration_child.py).
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import partial

from tests.benchmarks.measure import compared
from tests.benchmarks.start_up import COMMAND, ROOT, timed

CASES = {
    # A run without a step, tracked and watched as all are, over a stock flow that does nothing.
    "empty": ("G16", "empty pipeline", "@flow def f(): pass, default settings", 0.25, 0.12),
    # A stage that does nothing: a run of ten of them less a run of none.
    "stages": ("G16", "one stage", "15 ms", 1.0, 8 / 15),
    # The longest silence between two partitions.
    "stalls": ("G16", "1,000 partitions: longest stall", "1 s", 1.0, 1.0),
    # From raw images to a registered model.
    "digits": ("G17", "digits", "the same calls without Prefect", 1.15, 1.05),
    "map": ("G18", "10,000 no-op partitions", "task.map, n=1,000, times 10", 0.05, 0.03),
    "dask": ("G18", "10,000 no-op partitions", "dask.compute, threads", 1.2, 1.05),
}
"""What the child is asked for, to goal, case, peer, and the ratios that must and should be reached."""


def measured(asked):
    """The comparison of one case."""
    with tempfile.TemporaryDirectory() as home:
        place = {"MILLRACE_HOME": home}
        timed(COMMAND, "setup", **place)
        command = (sys.executable, "-m", "tests.benchmarks.orchestration_child", asked)
        try:
            done = subprocess.run(
                command, env={**os.environ, **place}, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
            )
        finally:
            timed(COMMAND, "down", **place)
    said = json.loads(done.stdout.splitlines()[-1])
    goal, case, peer, must, stretch = CASES[asked]
    names = {"goal": goal, "case": case, "peer": peer, "better": "lower"}
    return compared(said["pairs"], checksum=said["checked"], must=must, stretch=stretch, **names)


def cases(goal):
    """The measurements of a goal, for run.py."""
    return tuple(partial(measured, asked) for asked, (name, *_) in CASES.items() if name == goal)

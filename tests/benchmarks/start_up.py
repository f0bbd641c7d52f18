"""G24 and the demo: what the command costs before it does anything, and when there is nothing to do."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.measure import compared

COMMAND = str(Path(sys.executable).with_name("millrace"))
ROOT = Path(__file__).parents[2]


def timed(*command, **environment):
    began = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - began, done.stdout


def help_text(pairs=15):
    """`millrace --help` over `import prefect, mlflow, torch`; the files are in the page cache for both."""
    libraries = (sys.executable, "-c", "import prefect, mlflow, torch")
    timed(COMMAND, "--help")
    timed(*libraries)
    seconds, text = [], ""
    for _ in range(pairs):
        ours, text = timed(COMMAND, "--help")
        seconds.append((ours, timed(*libraries)[0]))
    names = {"goal": "G24", "case": "help", "peer": "import prefect, mlflow, torch", "better": "lower"}
    return compared(seconds, must=0.15, stretch=0.06, checksum=hashlib.sha256(text.encode()).hexdigest()[:12], **names)


def demo(pairs=3):
    """The second demo over the first, each pair in a home of its own: `seconds.total`; both name the same model."""
    seconds, models = [], set()
    for _ in range(pairs):
        with tempfile.TemporaryDirectory() as home:
            place = {"MILLRACE_HOME": home}
            timed(COMMAND, "setup", **place)
            first, second = (json.loads(timed(COMMAND, "run", "digits-cnn", "--json", **place)[1]) for _ in range(2))
            timed(COMMAND, "down", **place)
        assert (first["state"], second["state"]) == ("Completed", "Unchanged")
        assert first["model"] == second["model"]
        seconds.append((second["seconds"]["total"], first["seconds"]["total"]))
        models.add(json.dumps(first["metrics"]))
    assert len(models) == 1, models
    names = {"goal": "demo", "case": "nothing changed", "peer": "the first demo", "better": "lower"}
    return compared(
        seconds, must=0.2, stretch=0.1, checksum=hashlib.sha256(models.pop().encode()).hexdigest()[:12], **names
    )

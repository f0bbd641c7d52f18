"""One home, one Prefect server and one MLflow database for all tests of this folder."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows.api import Api
from tests.flows.recipe_lines import SMALL

COMMAND = str(Path(sys.executable).with_name("millrace"))


@dataclass
class Millrace:
    """The command in an environment of its own."""

    home: Path
    folder: Path

    @property
    def environment(self):
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "MILLRACE_HOME": str(self.home),
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *arguments, **environment):
        return subprocess.Popen(
            [COMMAND, *arguments],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def __call__(self, *arguments, **environment):
        process = self.start(*arguments, **environment)
        process.out, process.err = process.communicate(timeout=180)
        assert "Traceback" not in process.err, process.err
        return process

    def run(self, *arguments, **environment):
        """A run with `--json`: its record, with the process's exit code beside it."""
        process = self("run", *arguments, "--json", **environment)
        record = json.loads(process.out)
        record["code"], record["err"] = process.returncode, process.err
        return record

    def query(self, code):
        """Python in a process that is set up as the command's is; the JSON that it prints."""
        prelude = (
            "import json\nfrom flows import mlflow_server, server, settings\n"
            "placement = mlflow_server.found(settings.read())\n"
            "running = server.ensure(placement)\nserver.wait(placement, running)\n"
            "settings.export(placement, running.api_url)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", prelude + code],
            env=self.environment,
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])

    def prefect_run(self, number):
        """State type and name of a flow run, and the names of its tasks' states."""
        return self.query(f"""
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.sorting import TaskRunSort
with get_client(sync_client=True) as client:
    run = client.read_flow_run({number!r})
    these = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    tasks = client.read_task_runs(flow_run_filter=these, limit=50, offset=0, sort=TaskRunSort.END_TIME_DESC)
    print(json.dumps([run.state.type.value, run.state.name, sorted(one.state.name for one in tasks)]))
""")

    def mlflow_run(self, number):
        """Status, parameters, metrics, tags and inputs of an MLflow run."""
        return self.query(f"""
from mlflow import MlflowClient
run = MlflowClient().get_run({number!r})
inputs = [[one.dataset.name, one.dataset.digest, json.loads(one.dataset.profile)] for one in run.inputs.dataset_inputs]
print(json.dumps([run.info.status, run.data.params, run.data.metrics, run.data.tags, inputs]))
""")


@pytest.fixture(scope="session")
def millrace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("millrace")
    command = Millrace(home=folder / "home", folder=folder)
    assert command("setup").returncode == 0
    yield command
    command("down")


@pytest.fixture(scope="session")
def first(millrace):
    """The first run of the digits, one that others build on."""
    return millrace.run("digits-cnn")


@dataclass
class Served:
    """The same home with its servers and worker up and the deployments made."""

    millrace: Millrace
    api: Api
    mlflow: str
    states: dict


@pytest.fixture(scope="session")
def served(millrace, first):
    for command in ("up", "deploy"):
        done = millrace(command)
        assert done.returncode == 0, done.err
    states = {one["name"]: one for one in json.loads(millrace("status", "--json").out)}
    return Served(millrace, Api(states["prefect"]["address"]), states["mlflow"]["address"], states)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)

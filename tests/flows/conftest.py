"""One home, one Prefect server and one MLflow database for all tests of this folder."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.contracts.placement import Placement
from flows import server
from tests.flows.api import Api
from tests.flows.recipe_lines import SMALL, TINY
from tests.line import write_table

HERE = Path(sys.executable).parent
COMMAND = str(HERE / "millrace")


@dataclass
class Millrace:
    """The command in an environment of its own."""

    home: Path
    folder: Path

    @property
    def environment(self):
        return {
            # Advice names the command as a user types it: by its path where the environment is not activated.
            "PATH": os.pathsep.join(one for one in os.environ["PATH"].split(os.pathsep) if Path(one) != HERE),
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

    def __call__(self, *arguments, seconds=180, **environment):
        process = self.start(*arguments, **environment)
        process.out, process.err = process.communicate(timeout=seconds)
        assert "Traceback" not in process.err, process.err
        return process

    def run(self, *arguments, **environment):
        """A run with `--json`: its record, with the process's exit code beside it."""
        process = self("run", *arguments, "--json", **environment)
        record = json.loads(process.out)
        record["code"], record["err"] = process.returncode, process.err
        return record

    def repeat(self, *arguments, **environment):
        """Trials with `--json`: their record."""
        process = self("repeat", *arguments, "--json", **environment)
        record = json.loads(process.out)
        record["code"], record["err"] = process.returncode, process.err
        return record

    def tune(self, *arguments, **environment):
        """A search with `--json`: its record."""
        process = self("tune", *arguments, "--json", **environment)
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

    @property
    def prefect(self):
        """The server that a command left running."""
        return Api(server.find(Placement(home=self.home)).address)

    @cached_property
    def mlflow(self):
        address = Placement(home=self.home).tracking
        return MlflowClient(tracking_uri=address, registry_uri=address)

    def prefect_run(self, number, tasks=0):
        """State type and name of a flow run, and the names of its tasks' states once it has that many."""
        run, tasks = self.prefect.run(number), self.prefect.ended_tasks(number, tasks)
        return run["state_type"], run["state_name"], sorted(one["state_name"] for one in tasks)

    def mlflow_run(self, number):
        """Status, parameters, metrics, tags and inputs of an MLflow run."""
        run = self.mlflow.get_run(number)
        seen = [one.dataset for one in run.inputs.dataset_inputs]
        inputs = [[one.name, one.digest, json.loads(one.profile)] for one in seen]
        return run.info.status, run.data.params, run.data.metrics, run.data.tags, inputs


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
    states = {one["name"]: one for one in json.loads(millrace("status", "--json").out)["services"]}
    return Served(millrace, Api(states["prefect"]["address"]), states["mlflow"]["address"], states)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


@pytest.fixture
def own_environment():
    """The commands set Prefect's and MLflow's variables for good."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def mine(tmp_path):
    write_table(tmp_path / "table")
    path = tmp_path / "mine.yaml"
    path.write_text(TINY)
    assert len(TINY.strip().splitlines()) <= 10, "what a newcomer writes for a table of their own"
    return str(path)

"""F38: the Prefect server and its database go away in the middle of a run, and come back a minute later."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.e2e.conftest import family
from tests.e2e.test_served import of_run, training
from tests.flows.api import Api, ask
from tests.flows.conftest import Millrace
from tests.postgres import PASSWORD, Postgres

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
AWAY_SECONDS = 60.0


def killed_server(millrace):
    """End the Prefect server without a word; the database is a file that only it writes."""
    services = {one["name"]: one for one in json.loads(millrace("status", "--json").out)["services"]}
    own = [one for one in family(millrace) if one.environ().get("_MILLRACE_SERVICE", "").startswith("prefect:")]
    assert services["prefect"]["process"] in {one.pid for one in own}
    for one in own:
        one.kill()
    psutil.wait_procs(own, 10)
    return services


# As long as the server is away, and much shorter: such a run is done before anybody can be told.
@pytest.mark.parametrize("epochs", [20, 100])
def test_F38_a_run_completes_while_the_server_is_away_and_says_so_once_it_is_back(millrace, api, tally, epochs):
    changes = [f"train.max_epochs={epochs}", "gate={}"]
    number = api.start(api.deployments()["any-recipe"], seed=1000 + epochs, overrides=changes)
    api.until(number, lambda run: training(api, number))
    with tally("F38") as count:
        before = killed_server(millrace)
        count.injected += 1
        began = time.monotonic()
        time.sleep(AWAY_SECONDS)
        # It has to wait for the server.
        count.hit += bool(of_run(number))
        done = millrace("up")
        assert done.returncode == 0, done.err
        run = api.follow(number)
        count.lost += run["state_type"] != "COMPLETED"
    after = {one["name"]: one for one in json.loads(millrace("status", "--json").out)["services"]}
    assert after["prefect"]["address"] == before["prefect"]["address"], "runs look for it there"
    assert after["worker"]["process"] == before["worker"]["process"], "the worker waits, too"
    assert "went away" not in done.err
    print(f"{epochs} epochs: completed {time.monotonic() - began - AWAY_SECONDS:.0f} s after the server came back")
    assert {one["state_type"] for one in api.ended_tasks(number, 9, seconds=90)} == {"COMPLETED"}
    steps = api.artifacts(number)["digits-cnn-steps"]["data"]
    assert "| train | ran |" in steps
    again = api.follow(api.start(api.deployments()["any-recipe"], seed=1000 + epochs, overrides=changes))
    assert again["state"]["name"] == "Unchanged", "nothing was lost, and its place in the pool is free"


class OwnServer:
    """A Prefect server that somebody runs, on a PostgreSQL of theirs."""

    def __init__(self, folder, postgres):
        self.folder, self.port = folder, 4390
        database = f"postgresql+asyncpg://reader:{PASSWORD}@127.0.0.1:{postgres.port}/postgres"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
        self.environment = {
            **kept,
            "PREFECT_HOME": str(folder),
            "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        }
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        end = time.monotonic() + 120
        while True:
            try:
                if ask(f"{self.address}/api/health") == (200, True):
                    return
            except OSError:
                assert time.monotonic() < end, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.2)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def test_F38_server_and_postgres_are_killed_and_a_run_from_a_shell_ends_well(tmp_path, tally):
    postgres = Postgres()
    server = OwnServer(tmp_path, postgres)
    try:
        server.start()
        command = Millrace(home=tmp_path / "home", folder=tmp_path)
        asked = ("run", "digits-cnn", "--json", "--set", "train.max_epochs=60", "--set", "gate={}")
        run = command.start(*asked, MILLRACE_PREFECT_API_URL=f"{server.address}/api")
        api = Api(server.address)
        end = time.monotonic() + 90
        while not any(one["name"].startswith("train") for one in api.post("/task_runs/filter", {})[1]):
            assert time.monotonic() < end
            assert run.poll() is None, run.communicate()
            time.sleep(0.2)
        with tally("F38") as count:
            server.kill()
            postgres.kill()
            count.injected += 1
            time.sleep(AWAY_SECONDS)
            count.hit += run.poll() is None
            postgres.start()
            server.start()
            out, err = run.communicate(timeout=240)
            count.lost += run.returncode != 0
        assert "Traceback" not in err
        assert "the Prefect server does not answer: it is waited for" in err
        said = json.loads(out)
        state = Api(server.address).run(said["prefect_run"])
        assert (state["state_type"], said["state"]) == ("COMPLETED", "Completed")
    finally:
        server.kill()
        postgres.stop()

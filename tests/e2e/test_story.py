"""What the platform is for, as a person lives it: start in the browser, serve, drift, a new champion, and back.

Each step says when it was done; pictures of the pages lie in .reports/pictures (story-*.png).
"""

import json
import re
import signal
import time
from contextlib import contextmanager

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.e2e.test_loop import RECIPE, people, until
from tests.e2e.test_served import PICTURES, browser
from tests.flows.api import ask

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


class Told:
    """Says when what was done, and keeps a picture of it."""

    def __init__(self, page):
        self._began, self._page, self._number = time.monotonic(), page, 0

    def __call__(self, what):
        self._number += 1
        name = re.sub(r"\W+", "-", what).strip("-")
        self._page.screenshot(path=PICTURES / f"story-{self._number}-{name}.png")
        print(f"{time.monotonic() - self._began:6.1f} s  {what}")


def start(page, address, deployment, **fields):
    """Fill in a deployment's form and submit it."""
    page.goto(f"{address}/v2/deployments/deployment/{deployment['id']}/run")
    for label, text in fields.items():
        page.get_by_label(f"{label} (Optional)").fill(text)
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile("/runs/flow-run/|/deployments/deployment/[^/]*$"))


def opened(page, address, run):
    page.goto(f"{address}/v2/runs/flow-run/{run['id']}")
    page.get_by_text(run["state_name"], exact=True).first.wait_for()
    page.wait_for_timeout(1500)


def asked(server, rows):
    """The version that answers, after it was asked about those rows."""
    body = {"dataframe_records": [{name: row[name] for name in ("age", "town")} for row in rows.to_pylist()]}
    status, said = ask(f"{server}/invocations", body=body, method="POST")
    assert (status, len(said["predictions"])) == (200, len(rows))
    return ask(f"{server}/version")[1]["village"]["version"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rows").mkdir()
    pq.write_table(people(np.random.default_rng(0), 3000), tmp_path / "rows" / "1.parquet")
    text = RECIPE.replace("name: towns", "name: village")
    (tmp_path / "village.yaml").write_text(text.format(folder=tmp_path))
    return tmp_path


@contextmanager
def serving(millrace):
    """Where a server of the model says that it answers."""
    process = millrace.start("serve", "village", "--port", "0", "--set", "log.seconds=1", "--set", "lines=false")
    try:
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found[0]
                break
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


class Person:
    """Sits before the pages, with the forms of three deployments."""

    def __init__(self, page, address, api):
        self.page, self.address, self.api, self.told = page, address, api, Told(page)
        self._deployments = api.deployments()
        self._known = {}

    def runs(self, name):
        return self.api.runs(self._deployments[name])

    def looks(self, *names):
        """Remember which runs there are."""
        self._known = {name: {one["id"] for one in self.runs(name)} for name in names}

    def submits(self, name, **fields):
        start(self.page, self.address, self._deployments[name], **fields)
        return self.follows(name)

    def follows(self, name):
        """The run that came since, open in the browser, when it has ended."""
        new = until(lambda: [one for one in self.runs(name) if one["id"] not in self._known[name]])[0]
        run = self.api.follow(new["id"])
        opened(self.page, self.address, run)
        return run

    def opens_artifact(self, run, key, text):
        self.opens(f"{self.address}/v2/artifacts/artifact/{self.api.artifacts(run['id'])[key]['id']}", text)

    def opens(self, address, text):
        self.page.goto(address)
        self.page.get_by_text(text).first.wait_for()
        self.page.wait_for_timeout(500)


def test_the_story_of_a_model(millrace, address, api, folder):
    drawn = np.random.default_rng(5)
    with browser() as page:
        person = Person(page, address, api)
        person.looks("any-recipe", "any-monitoring", "any-retraining")
        run = person.submits("any-recipe", recipe=str(folder / "village.yaml"))
        assert run["name"] == "village v1", run["state"]["message"]
        person.told("the run that was started in the browser made version 1")
        with serving(millrace) as at:
            assert asked(at, people(drawn, 600)) == "1"
            person.opens(at, "village")
            person.told("version 1 answers")
            run = drift_comes(person, folder)
            person.opens_artifact(run, "models", "village")
            person.told("the new champion at a glance")
            (*_, move) = json.loads(millrace("champions", "village", "--json").out)["champions"]["village"]
            assert move["version"] == "2"
            until(lambda: asked(at, people(drawn, 10)) == "2")
            person.told("the server answers with version 2")
            assert millrace("rollback", "village", "--why", "to see how it goes").returncode == 0
            until(lambda: asked(at, people(drawn, 10)) == "1")
            person.told("rolled back, and the server answers with version 1 again")
    (model,) = [one for one in json.loads(millrace("status", "--json").out)["models"] if one["name"] == "village"]
    assert model["version"] == "1"
    print(millrace("status").out)


def drift_comes(person, folder):
    """New rows are there, of older people, and drift is simulated on what the server was asked."""
    pq.write_table(people(np.random.default_rng(1), 3000, older=10.0), folder / "rows" / "2.parquet")
    time.sleep(3)
    run = person.submits("any-monitoring", model="village", simulate_drift="1")
    assert run["state_name"] == "Drift", run["state"]["message"]
    person.opens_artifact(run, "village-drift", "column: age")
    person.told("monitoring of the prediction log finds the drift")
    run = person.follows("any-retraining")
    assert (run["state_name"], run["parameters"]["reason"]) == ("Completed", "drift"), run["state"]["message"]
    person.told("the automation has trained it again")
    return run

"""Prefect's REST API as its own pages use it: with the CSRF token."""

import contextlib
import json
import time
import urllib.error
import urllib.request
import uuid

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def ask(url, *, body=None, method=None, **headers):
    """Status and parsed body of one request."""
    data = None if body is None else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = urllib.request.Request(
        url, data=data, method=method, headers={"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(asked, timeout=30) as reply:
            status, text = reply.status, reply.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text.decode(errors="replace")


class Api:
    def __init__(self, address):
        self.address, self.url, client = address, f"{address}/api", uuid.uuid4().hex
        _, token = ask(f"{self.url}/csrf-token?client={client}")
        self._headers = {"Prefect_Csrf_Token": token["token"], "Prefect_Csrf_Client": client}

    def get(self, path):
        return ask(f"{self.url}{path}")[1]

    def post(self, path, body, method="POST"):
        return ask(f"{self.url}{path}", body=body, method=method, **self._headers)

    def deployments(self):
        return {one["name"]: one for one in self.post("/deployments/filter", {})[1]}

    def start(self, deployment, **parameters):
        """The number of a run of a deployment, as its form starts it."""
        status, run = self.post(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})
        assert status in {200, 201}, run
        return run["id"]

    def run(self, number):
        return self.get(f"/flow_runs/{number}")

    def follow(self, number, seconds=240):
        """The run when it has ended."""
        return self.until(number, lambda run: run["state_type"] in FINAL, seconds)

    def until(self, number, holds, seconds=120):
        """The run as soon as that holds. A machine that is busy elsewhere may leave one question without an answer."""
        end, last = time.monotonic() + seconds, "no answer"
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError, urllib.error.URLError):
                run = self.run(number)
                if holds(run):
                    return run
                last = run["state"]
            time.sleep(0.2)
        raise AssertionError(last)

    def runs(self, deployment):
        body = {"deployments": {"id": {"any_": [deployment["id"]]}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 100}
        return self.post("/flow_runs/filter", body)[1]

    def all_runs(self, state):
        """Every run in that state."""
        body = {"flow_runs": {"state": {"type": {"any_": [state]}}}, "sort": "START_TIME_DESC", "limit": 100}
        return self.post("/flow_runs/filter", body)[1]

    def named(self, name):
        """The newest run of that name."""
        body = {"flow_runs": {"name": {"any_": [name]}}, "sort": "START_TIME_DESC", "limit": 1}
        return self.post("/flow_runs/filter", body)[1][0]

    def tasks(self, number):
        body = {"flow_runs": {"id": {"any_": [number]}}, "limit": 100}
        return self.post("/task_runs/filter", body)[1]

    def ended_tasks(self, number, most, seconds=20):
        """The same once `most` of them have ended: the server learns of each by way of its events."""
        end = time.monotonic() + seconds
        while len(tasks := self.tasks(number)) < most or any(one["state_type"] not in FINAL for one in tasks):
            assert time.monotonic() < end, tasks
            time.sleep(0.2)
        return tasks

    def task_events(self, number, most, seconds=20):
        """The kept events of a run's tasks, each with its task's name, once there are `most` of them."""
        about = {"event": {"prefix": ["prefect.task-run."]}, "any_resource": {"id": [f"prefect.flow-run.{number}"]}}
        body = {"filter": about, "limit": 50}
        end = time.monotonic() + seconds
        while (found := self.post("/events/filter", body)[1])["total"] < most:
            assert time.monotonic() < end, found
            time.sleep(0.2)
        return [(one["resource"]["prefect.resource.name"], one["event"]) for one in found["events"]]

    def artifacts(self, number):
        """Every artifact of a run, by its key."""
        body = {"artifacts": {"flow_run_id": {"any_": [number]}}, "limit": 100}
        return {one["key"]: one for one in self.post("/artifacts/filter", body)[1]}

    def log(self, number):
        body = {"logs": {"flow_run_id": {"any_": [number]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return [one["message"] for one in self.post("/logs/filter", body)[1]]

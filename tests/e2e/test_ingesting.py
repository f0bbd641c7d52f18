"""A stream that a schedule reads: each run of the deployment ingests what is new, and nothing counts twice."""

import json
import time

import pytest

from components.adapters.pointers import Pointer
from components.adapters.snapshot_rows import read_rows
from components.context import open_context
from components.contracts.artifacts import RawSnapshot
from components.contracts.placement import Placement
from tests.streams import Broker

pytestmark = pytest.mark.e2e

RECIPE = """
name: sensor
source: {{kind: kafka, servers: "{servers}", topic: sensor, window_rows: 50}}
checks: {{columns: {{n: {{type: int64}}, x: {{type: float64}}}}}}
features: [{{kind: number, columns: [x]}}]
target: {{kind: label, column: label}}
model: {{kind: mlp, hidden: [8]}}
objective: {{kind: classification}}
train: {{max_epochs: 2}}
"""


def send(broker, numbers):
    rows = [{"n": one, "x": one % 7 - 3 + one / 1000, "label": "yes" if one % 7 > 3 else "no"} for one in numbers]
    broker.send("sensor", [json.dumps(row).encode() for row in rows], partitions=2)


def ingested(millrace):
    """The numbers that the newest snapshot holds."""
    ctx = open_context(Placement(home=millrace.home), "sensor")
    last = Pointer(ctx.store, "last/sensor/ingest").read()
    if last is None:
        return []
    raw = ctx.load_key(RawSnapshot, last.value)
    return sorted(one for part in raw.parts for one in read_rows(ctx.store, "ingest", part.key, ["n"])["n"].to_pylist())


def until(millrace, count, seconds=150):
    end = time.monotonic() + seconds
    while len(found := ingested(millrace)) < count:
        assert time.monotonic() < end, len(found)
        time.sleep(0.5)
    return found


def test_a_schedule_ingests_what_is_new(millrace, api, tmp_path):
    broker = Broker()
    path = tmp_path / "sensor.yaml"
    path.write_text(RECIPE.format(servers=broker.servers))
    send(broker, range(400))
    step = api.deployments()["any-step"]
    schedule = {
        "active": True,
        "schedule": {"interval": 10},
        "parameters": {"step": "ingest", "recipe": str(path)},
    }
    status, (made,) = api.post(f"/deployments/{step['id']}/schedules", [schedule])
    assert status == 201
    try:
        assert until(millrace, 400) == list(range(400))
        send(broker, range(400, 450))
        assert until(millrace, 450) == list(range(450))
    finally:
        api.post(f"/deployments/{step['id']}/schedules/{made['id']}", None, "DELETE")
    time.sleep(1)
    assert sum(broker.committed("sensor", "millrace", 2)) == 450
    runs = [one for one in api.runs(step) if one["parameters"].get("recipe") == str(path)]
    assert {one["state_type"] for one in runs if one["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}} == {
        "COMPLETED"
    }


def test_a_whole_run_on_a_stream_trains_again_only_when_something_came(millrace, tmp_path):
    broker = Broker()
    path = tmp_path / "sensor.yaml"
    path.write_text(RECIPE.format(servers=broker.servers).replace("name: sensor", "name: sensor-model"))
    send(broker, range(600))
    first = millrace.run(str(path))
    assert first["state"] in {"Completed", "Rejected"}, first["err"]
    assert millrace.run(str(path))["state"] in {"Unchanged", "Rejected"}
    send(broker, range(600, 700))
    third = millrace.run(str(path))
    ran = {one["step"]: one["reused"] for one in third["steps"]}
    assert not ran["ingest"]
    assert not ran["train"]

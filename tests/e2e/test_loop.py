"""The loop, closed by Prefect: rows move, monitoring says so, the automation trains again, once; whoever is named is told."""

import http.server
import json
import threading
import time
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
RECIPE = """
name: towns
source: {{kind: files, uri: {folder}/rows}}
checks: {{columns: {{age: {{type: float64}}, town: {{type: string}}}}}}
features: [{{kind: number, columns: [age]}}, {{kind: category, columns: [town]}}]
target: {{kind: label, column: label}}
model: {{kind: mlp, hidden: [8]}}
objective: {{kind: classification}}
train: {{max_epochs: 3}}
monitor: {{draws: 10}}
"""


NEW = "towns-anew"


def people(draw, rows, older=0.0):
    age, town = draw.normal(40 + older, 12, rows), draw.choice(["Ulm", "Bonn"], rows)
    yes = age / 12 + (town == "Bonn") + draw.normal(0, 0.5, rows) > 3.8
    return pa.table({"age": age, "town": town.tolist(), "label": np.where(yes, "yes", "no").tolist()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("towns")
    (made / "rows").mkdir()
    (made / "new").mkdir()
    draw = np.random.default_rng(0)
    pq.write_table(people(draw, 3000), made / "rows" / "1.parquet")
    pq.write_table(people(draw, 600), made / "new" / "1.parquet")
    (made / "towns.yaml").write_text(RECIPE.format(folder=made))
    return made


@pytest.fixture(scope="module")
def first(millrace, folder):
    """The first champion."""
    return millrace.run(str(folder / "towns.yaml"))


def until(what, seconds=120):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.3)
    return found


def test_rows_that_moved_train_the_model_again_once(millrace, api, folder, first):
    assert (first["state"], first["model"]["version"]) == ("Completed", 1)
    watch, again = (api.deployments()[name] for name in ("any-monitoring", "any-retraining"))
    known = {one["id"] for one in api.runs(again)}

    def retrainings():
        return [one for one in api.runs(again) if one["id"] not in known and one["name"].startswith("towns")]

    calm = api.follow(api.start(watch, model="towns", source=str(folder / "new")))
    assert calm["state_name"] == "Completed", calm["state"]["message"]
    # The world moves: new rows come, of older people.
    later = people(np.random.default_rng(1), 3000, older=10.0)
    pq.write_table(later.slice(0, 600), folder / "new" / "1.parquet")
    pq.write_table(later, folder / "rows" / "2.parquet")
    began = time.monotonic()
    moved = api.follow(api.start(watch, model="towns", source=str(folder / "new")))
    assert moved["state_name"] == "Drift"
    assert "column: age" in moved["state"]["message"]
    assert "**age**" in api.artifacts(moved["id"])["towns-drift"]["data"]
    (run,) = until(retrainings)
    ended = api.follow(run["id"])
    print(f"trained again {time.monotonic() - began:.1f} s after the rows were looked at")
    assert (ended["state_name"], ended["parameters"]["reason"]) == ("Completed", "drift"), ended["state"]["message"]
    assert "600 new rows have moved" in ended["parameters"]["why"]
    (*_, move) = json.loads(millrace("champions", "towns", "--json").out)["champions"]["towns"]
    assert (move["version"], move["how"]) == ("2", "run")
    # The second alarm of the same day trains nothing.
    api.follow(api.start(watch, model="towns", source=str(folder / "new"), simulate_drift=2.0))
    second = until(lambda: [one for one in retrainings() if one["id"] != run["id"]])[0]
    skipped = api.follow(second["id"])
    assert skipped["state_name"] == "Skipped"
    assert "hours ago, less than 24" in skipped["state"]["message"]
    # What the new champion was tested on has these rows: it is calm again, and goes back when asked.
    assert api.follow(api.start(watch, model="towns", source=str(folder / "rows")))["state_name"] == "Completed"
    assert millrace("rollback", "towns", "--why", "tried").returncode == 0


class Board(http.server.BaseHTTPRequestHandler):
    """Takes what is posted to it."""

    told: ClassVar = []

    def do_POST(self):
        self.told.append(self.rfile.read(int(self.headers["content-length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.usefixtures("first")
def test_the_operators_target_is_told_and_nobody_else_by_default(millrace, api, folder):
    names = {one["name"] for one in api.post("/automations/filter", {})[1]}
    assert {one for one in names if one.startswith("millrace: ")} == {"millrace: retrain on drift"}
    wrong = millrace("deploy", MILLRACE_NOTIFY="custom-webhook/nobody")
    assert wrong.returncode == 2
    assert wrong.err.startswith(
        "E_CONFIG MILLRACE_NOTIFY: there is no such block on the Prefect server (got 'custom-web"
    )
    board = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Board)
    threading.Thread(target=board.serve_forever, daemon=True).start()
    try:
        _make_block(api, f"http://127.0.0.1:{board.server_address[1]}/")
        assert millrace("deploy", MILLRACE_NOTIFY="custom-webhook/board").returncode == 0
        api.follow(api.start(api.deployments()["any-recipe"], recipe="gone.yaml"))
        until(lambda: [one for one in Board.told if "A run ended badly" in one and "E_CONFIG" in one])
        api.follow(
            api.start(api.deployments()["any-monitoring"], model="towns", source=str(folder / "new"), simulate_drift=3)
        )
        until(lambda: [one for one in Board.told if "towns has drifted" in one and "have moved" in one])
        anew = ["gate={}", f"register.name={NEW}"]
        api.follow(api.start(api.deployments()["any-recipe"], recipe=str(folder / "towns.yaml"), overrides=anew))
        until(lambda: [one for one in Board.told if f"{NEW} has a new champion" in one])
        assert millrace("deploy").returncode == 0
        names = {one["name"] for one in api.post("/automations/filter", {})[1]}
        assert {one for one in names if one.startswith("millrace: ")} == {"millrace: retrain on drift"}
    finally:
        board.shutdown()
        board.server_close()


def _make_block(api, url):
    (kind,) = api.post("/block_types/filter", {"block_types": {"slug": {"any_": ["custom-webhook"]}}})[1] or [
        api.get("/block_types/slug/custom-webhook")
    ]
    schema = api.post("/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})[1][0]
    body = {
        "name": "board",
        "block_type_id": kind["id"],
        "block_schema_id": schema["id"],
        "data": {"name": "board", "url": url, "method": "POST", "json_data": {"said": "{{subject}}: {{body}}"}},
    }
    status, made = api.post("/block_documents/", body)
    assert status in {200, 201}, made

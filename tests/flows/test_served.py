"""The servers and the worker that `up` starts, what `deploy` makes of them, and runs that Prefect's pages start."""

import http.client
import http.server
import json
import os
import socket
import subprocess
import threading
import time

import psutil
import pytest

from components.contracts.closure import ROOT
from components.contracts.errors import EnvironmentFault
from flows import mlflow_server, recipe_files
from flows.pipeline import load_recipe
from flows.processes import Service, python
from tests.flows.api import ask

FOREIGN = "https://foreign.example"


@pytest.mark.e2e
def test_up_again_starts_nothing_and_status_names_what_runs(served):
    again = served.millrace("up")
    assert again.returncode == 0
    assert again.err.count("was up") == 3
    states = {one["name"]: one for one in json.loads(served.millrace("status", "--json").out)["services"]}
    assert states == served.states
    assert {name: one["state"] for name, one in states.items()} == dict.fromkeys(("prefect", "mlflow", "worker"), "up")


@pytest.mark.e2e
def test_everything_listens_on_loopback_only(served):
    places = set()
    for one in served.states.values():
        root = psutil.Process(one["process"])
        for process in (root, *root.children(recursive=True)):
            places |= {
                place.laddr.ip for place in process.net_connections("inet") if place.status == psutil.CONN_LISTEN
            }
    assert places == {"127.0.0.1"}


@pytest.mark.e2e
def test_a_foreign_page_can_neither_ask_nor_write_at_prefect(served):
    url = f"{served.api.url}/flows/"
    preflight = {"Origin": FOREIGN, "Access_Control_Request_Method": "POST"}
    assert ask(url, method="OPTIONS", **preflight)[0] == 400
    assert ask(url, method="OPTIONS", **preflight | {"Origin": served.api.address})[0] == 200
    assert ask(url, body={"name": "foreign"}, Origin=FOREIGN)[0] == 403
    assert served.api.post("/flows/", {"name": "own"})[0] in {200, 201}


def handshake(address, origin):
    """The status of a WebSocket's opening, as a page of `origin` would ask for it."""
    host = address.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=10)
    key = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    connection.request(
        "GET", "/api/events/out", headers=key | {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": origin}
    )
    status = connection.sock.recv(64).split()[1]
    connection.close()
    return int(status)


@pytest.mark.e2e
def test_a_foreign_page_reaches_prefect_neither_by_a_socket_nor_by_a_name_of_its_own(served):
    assert handshake(served.api.address, FOREIGN) == 403
    assert handshake(served.api.address, served.api.address) == 101
    assert ask(f"{served.api.url}/csrf-token?client=x", Host="foreign.example:4200")[0] == 403
    assert ask(f"{served.api.url}/health", Host="localhost:4200") == (200, True)


@pytest.mark.e2e
def test_a_foreign_page_or_host_name_gets_nothing_from_mlflow(served):
    url = f"{served.mlflow}/api/2.0/mlflow/experiments/create"
    assert ask(url, body={"name": "foreign"}, Origin=FOREIGN)[0] == 403
    search = f"{served.mlflow}/api/2.0/mlflow/experiments/get-by-name?experiment_name=millrace"
    assert ask(search, Host="foreign.example")[0] == 403
    assert ask(search)[0] == 200


@pytest.mark.e2e
def test_each_quick_recipe_on_built_in_data_has_a_deployment(served):
    found = served.api.deployments()
    quick = set()
    for name in recipe_files.names():
        proof = load_recipe(name).proof
        if proof.quick and proof.data == "built in":
            quick.add(name)
    assert set(found) == {
        "any-monitoring",
        "any-recipe",
        "any-repeating",
        "any-retraining",
        "any-scoring",
        "any-search",
        "approval",
        "any-step",
        "any-trial",
        "digits-cnn-monitoring",
        "digits-cnn-retraining",
        "digits-cnn-scoring",
        "reconciling",
        *quick,
    }
    for name in quick:
        assert found[name]["parameters"] == {"recipe": name}
        assert found[name]["description"] == load_recipe(name).description
    for one in found.values():
        assert "millrace" in one["tags"]
        assert one["description"]
        assert one["enforce_parameter_schema"]
        assert one["global_concurrency_limit"]["limit"] >= 1
    (schedule,) = found["digits-cnn-retraining"]["schedules"]
    assert (schedule["active"], schedule["schedule"]["cron"]) == (True, "0 3 * * *")
    (schedule,) = found["digits-cnn-monitoring"]["schedules"]
    assert (schedule["active"], schedule["schedule"]["cron"]) == (False, "30 * * * *")
    (schedule,) = found["reconciling"]["schedules"]
    assert (schedule["active"], schedule["schedule"]["cron"]) == (True, "*/10 * * * *")
    assert served.api.get("/work_pools/millrace")["concurrency_limit"] is None
    _, queues = served.api.post("/work_pools/millrace/queues/filter", {})
    assert {one["name"]: one["concurrency_limit"] for one in queues} == {"default": 2, "parts": 2, "care": 1}
    apart = {name: one["work_queue_name"] for name, one in found.items() if one["work_queue_name"] != "default"}
    assert apart == {"any-step": "parts", "any-trial": "parts", "reconciling": "care"}


@pytest.mark.e2e
def test_the_schedule_has_its_next_run(served):
    deployment = served.api.deployments()["digits-cnn-retraining"]
    end = time.monotonic() + 60
    while not (runs := served.api.runs(deployment)):
        assert time.monotonic() < end, "the server creates no scheduled runs"
        time.sleep(0.5)
    assert {(run["state_type"], run["auto_scheduled"]) for run in runs} == {("SCHEDULED", True)}


@pytest.mark.e2e
def test_every_field_of_every_form_is_flat_typed_and_described(served):
    for name, one in served.api.deployments().items():
        schema = one["parameter_openapi_schema"]
        assert schema["properties"], name
        # A person's word has no default.
        asked = {"run", "who", "why"} if name == "approval" else set()
        assert set(schema.get("required", ())) == asked, f"{name} does not run with its defaults"
        for field, said in schema["properties"].items():
            place = f"{name} {field}"
            assert said["description"].strip(), place
            assert "default" in said or field in asked, place
            assert said.get("type") in {"string", "integer", "number", "boolean", "array"}, place
            assert not {"$ref", "anyOf", "oneOf", "allOf", "properties"} & set(said), place
            leaf = said["items"] if said["type"] == "array" else said
            assert leaf.get("type") in {"string", "integer", "number", "boolean"}, place
            assert len(leaf.get("enum", ["a", "b"])) > 1, place
            assert "const" not in leaf, place


@pytest.mark.e2e
def test_a_command_finds_the_servers_and_says_where_it_reports(served):
    record = served.millrace.run("digits-cnn")
    assert (record["code"], record["state"]) == (0, "Unchanged")
    assert f"seen at {served.api.address}/runs and {served.mlflow}, " in record["err"]
    assert record["report"].startswith(f"{served.mlflow}/#/experiments/")
    assert ask(f"{served.mlflow}/api/2.0/mlflow/runs/get?run_id={record['mlflow_run']}")[0] == 200


@pytest.mark.e2e
@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"epochs": -1}, "epochs"),
        ({"epochs": "many"}, "epochs"),
        ({"rerun": ["trian"]}, "rerun"),
        ({"seeds": 1}, "seeds"),
    ],
)
def test_bad_input_a_wrong_value_in_the_form_is_refused_before_a_run_exists(served, parameters, field):
    deployment = served.api.deployments()["any-recipe"]
    before = len(served.api.runs(deployment))
    status, said = served.api.post(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})
    assert status in {409, 422}
    assert field in json.dumps(said)
    assert len(served.api.runs(deployment)) == before


@pytest.mark.e2e
@pytest.mark.bad_input
def test_bad_input_B50_a_taken_port_and_a_server_that_is_missing(millrace, tmp_path):
    home = {"MILLRACE_HOME": str(tmp_path / "home")}
    for command in ("deploy", "worker"):
        done = millrace(command, **home)
        assert done.returncode == 1
        assert done.err.startswith("E_SERVER_UNREACHABLE " + command)
        assert "millrace up" in done.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (tmp_path / "home" / "mlflow").mkdir(parents=True)
        done = millrace("up", MILLRACE_PREFECT_PORT=port, **home)
        assert done.err.splitlines()[-1].startswith(
            f"E_PORT_TAKEN MILLRACE_PREFECT_PORT: something else listens there (got {port})"
        )
    assert json.loads(millrace("status", "--json", **home).out)["services"][0]["state"] == "down"


@pytest.mark.bad_input
def test_bad_input_B50_mlflows_port_is_taken(placement):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(EnvironmentFault) as caught:
        port = taken.getsockname()[1]
        mlflow_server.ensure(placement.model_copy(update={"mlflow_port": port}))
    assert caught.value.line().startswith(
        f"E_PORT_TAKEN MILLRACE_MLFLOW_PORT: something else listens there (got {port})"
    )


@pytest.mark.bad_input
def test_bad_input_B50_the_local_mlflow_server_is_of_another_release_or_another_process(placement):
    class Old(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = {"/health": b"OK", "/version": b"1.0.0"}[self.path]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Old) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address, service = f"http://127.0.0.1:{server.server_port}", mlflow_server.service(placement)
        with service.lock():
            me = {"process": os.getpid(), "created": psutil.Process().create_time(), "address": address}
            (placement.home / "servers" / "mlflow.json").write_text(json.dumps(me))
        with pytest.raises(EnvironmentFault, match=f"E_SERVER_VERSION {address}: the server is MLflow 1.0.0"):
            mlflow_server.found(placement)
        with subprocess.Popen(["sleep", "60"]) as sleeper:
            other = {**me, "process": sleeper.pid, "created": psutil.Process(sleeper.pid).create_time()}
            (placement.home / "servers" / "mlflow.json").write_text(json.dumps(other))
            assert mlflow_server.found(placement) == placement, "another process holds the port"
            sleeper.kill()
        server.shutdown()


@pytest.mark.bad_input
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it outlives the object that started it
def test_bad_input_B50_a_server_that_does_not_come_up_is_told_with_its_log(placement):
    """A database of a newer release: the server ends, and what it said is not a riddle."""
    service = Service(name="prefect", home=placement.home)
    said = "sys.stderr.write(\"Can't locate revision identified by 'f00'\"); sys.exit(1)"
    with service.lock():
        running = service.start(python("-c", f"import sys; {said}"), {}, "http://127.0.0.1:9", folder=ROOT)
    with pytest.raises(EnvironmentFault, match="E_DATABASE .*the Prefect server was made by a newer release"):
        service.wait(running, lambda: False, 20, "the Prefect server")
    assert not running.alive
    assert service.stop() is None

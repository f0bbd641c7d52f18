"""Requests: every form of MLflow's wire format gives the same answers, and every mistake one line and no 500."""

import json
import socket
import threading
import time

import httpx
import mlflow
import orjson
import pandas as pd
import pytest

from components.adapters.pointers import drift_pointer
from components.adapters.store import Store
from components.packages import open_package
from components.serve.app import ServeConfig
from tests.serve.conftest import row, serving

ROWS = [{"n": 1.5, "c": "a"}, {"n": -3.0, "c": None}, {"n": 0.25, "c": "never seen"}]
COLUMNS = {name: [one[name] for one in ROWS] for name in ("n", "c")}
FORMS = {
    "split": {"dataframe_split": {"columns": ["c", "n"], "data": [[one["c"], one["n"]] for one in ROWS]}},
    "split with an index": {
        "dataframe_split": {"index": [0, 1, 2], "columns": ["n", "c"], "data": [list(one.values()) for one in ROWS]}
    },
    "records": {"dataframe_records": ROWS},
    "records that leave missing cells out": {
        "dataframe_records": [{name: cell for name, cell in one.items() if cell is not None} for one in ROWS]
    },
    "columns": {"inputs": COLUMNS},
    "inputs as records": {"inputs": ROWS},
    "instances": {"instances": ROWS, "params": {}},
    "more columns": {"inputs": COLUMNS | {"label": ["yes", "no", "no"]}},
}


@pytest.fixture(scope="module")
def wanted(line):
    """What the package itself says."""
    host = line.host("toy")
    record = Store(line.ctx.store.files).artifact("package", host.now.place.fingerprint).standing()
    predictor = open_package(line.ctx.store.folder(record) / "model")
    return predictor.predict(predictor.table(pd.DataFrame(ROWS))).table().to_pylist()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_what_the_package_says(client, wanted, form):
    said = client.post("/invocations", json=FORMS[form])
    assert said.status_code == 200, said.text
    found = said.json()["predictions"]
    assert [one["prediction"] for one in found] == [one["prediction"] for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)
    assert (said.headers["x-model-name"], said.headers["x-model-version"]) == ("toy", "1")


def test_csv_gives_the_same(client, wanted):
    body = "c,n,other\na,1.5,x\n,-3,y\nnever seen,0.25,z\n"
    said = client.post("/invocations", content=body, headers={"content-type": "text/csv; charset=utf-8"})
    assert [one["prediction"] for one in said.json()["predictions"]] == [one["prediction"] for one in wanted]


def test_mlflows_own_client_writes_what_is_read(client, wanted):
    """What MLflow makes of a data frame for its own servers, and how it reads an answer."""
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    url = client.base_url
    asked = ScoringServerClient(url.host, url.port)
    asked.wait_server_ready(10)
    found = asked.invoke(pd.DataFrame(ROWS)).get_predictions()
    assert found["prediction"].tolist() == [one["prediction"] for one in wanted]
    assert mlflow.__version__


def text(body, kind="application/json"):
    return {"content": body, "headers": {"content-type": kind}}


def deep(levels):
    return text(b'{"inputs":' + b"[" * levels + b"]" * levels + b"}")


B48 = {
    "not-json": (text(b"hello"), 400, "E_NOT_JSON", "the body is no JSON"),
    "empty": (text(b""), 400, "E_NOT_JSON", "no JSON"),
    "bad-utf8": (text(b'{"inputs":{"c":["\xff"]}}'), 400, "E_NOT_JSON", "no JSON"),
    "nan": (text(b'{"inputs":{"n":[NaN],"c":["a"]}}'), 400, "E_VALUE", "row 1: n may not be missing"),
    "literal-infinity": (text(b'{"inputs":{"n":[NaN,-Infinity],"c":["a","b"]}}'), 400, "E_NOT_JSON", "no JSON"),
    "deep-with-nan": (text(b'{"inputs":[NaN,' + b"[" * 100_000), 400, "E_NOT_JSON", "no JSON"),
    "infinity": (text(b'{"inputs":{"n":[1e999],"c":["a"]}}'), 400, "E_", ""),
    "csv-nan": (text(b"n,c\nnan,a\n", "text/csv"), 422, "E_ROW_REJECTED", "n is not of type float64"),
    "deep": (deep(100_000), 400, "E_NOT_JSON", ""),
    "a-list": (text(b"[1]"), 400, "E_FORMAT", "one of dataframe_split"),
    "no-form": ({"json": {"rows": []}}, 400, "E_FORMAT", "one of dataframe_split"),
    "two-forms": ({"json": {"inputs": [], "instances": []}}, 400, "E_FORMAT", "one of"),
    "no-rows": ({"json": {"dataframe_records": []}}, 400, "E_NO_ROWS", "no rows"),
    "no-columns": ({"json": {"inputs": {}}}, 400, "E_FORMAT", "lists of one length"),
    "ragged": ({"json": {"inputs": {"n": [1, 2], "c": ["a"]}}}, 400, "E_FORMAT", "one length"),
    "short-row": (
        {"json": {"dataframe_split": {"columns": ["n", "c"], "data": [[1, "a"], [1]]}}},
        400, "E_ROW_FIELDS", "row 2 has to be a list of 2 cells",
    ),
    "twice": (
        {"json": {"dataframe_split": {"columns": ["n", "n"], "data": [[1, 2]]}}}, 400, "E_DUP_COLUMN", "a name twice",
    ),
    "csv-twice": (text(b"n,n\n1,2\n", "text/csv"), 400, "E_DUP_COLUMN", "a name twice"),
    "csv-short": (text(b"n,c\n1\n", "text/csv"), 400, "E_FORMAT", "no CSV"),
    "csv-empty": (text(b"", "text/csv"), 400, "E_FORMAT", "no CSV"),
    "csv-utf8": (text(b"n,c\n1,\xff\n", "text/csv"), 400, "E_FORMAT", "no CSV"),
    "missing-column": ({"json": {"dataframe_records": [{"c": "a"}]}}, 400, "E_COLUMN_MISSING", "the column n"),
    "missing-cell": ({"json": {"inputs": {"n": [1, None], "c": ["a", "b"]}}}, 400, "E_VALUE", "row 2: n may not be"),
    "text-for-number": ({"json": row(n="1.5")}, 400, "E_TYPE", "row 1: n is no float64: '1.5'"),
    "truth-for-number": ({"json": row(n=True)}, 400, "E_TYPE", "row 1: n is no float64: True"),
    "object-for-number": ({"json": row(n={"a": 1})}, 400, "E_TYPE", "n is no float64"),
    "list-for-number": ({"json": row(n=[1])}, 400, "E_TYPE", "n is no float64"),
    "number-for-text": ({"json": row(c=7)}, 400, "E_TYPE", "row 1: c is no string: 7"),
    "lone-surrogate": (text(b'{"inputs":[{"n":1,"c":"\\ud800"}]}'), 400, "E_", ""),
    "huge-number": (text(b'{"inputs":[{"n":' + b"9" * 400 + b',"c":"a"}]}'), 400, "E_", ""),
    "other-type": (text(b"<a/>", "application/xml"), 415, "E_CONTENT_TYPE", "application/json"),
    "no-type": ({"content": b"{}"}, 415, "E_CONTENT_TYPE", "application/json"),
    "many-rows": ({"json": {"inputs": {"n": [1.0] * 10_001, "c": ["a"] * 10_001}}}, 413, "E_TOO_MANY_ROWS", "10,001"),
}  # fmt: skip


@pytest.mark.bad_input
@pytest.mark.parametrize("case", B48)
def test_bad_input_B48_a_request_that_is_wrong_is_told_so(client, case):
    """Status, code, one line; the server goes on."""
    asked, status, code, said = B48[case]
    answer = client.post("/invocations", **asked)
    assert (answer.status_code, answer.json()["error_code"].startswith(code)) == (status, True), answer.text
    assert said in answer.json()["message"]
    assert len(answer.text) < 500
    assert "Traceback" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert client.post("/invocations", json=row()).status_code == 200


@pytest.mark.bad_input
def test_bad_input_B48_what_is_too_large_is_not_held(line):
    config = ServeConfig(lines=False, most_bytes=1000)
    with serving([line.host("toy")], config) as client:
        large = client.post("/invocations", **text(b" " * 1001))
        assert (large.status_code, large.json()["error_code"]) == (413, "E_TOO_LARGE")

        def pieces():
            for _ in range(100):
                yield b" " * 100

        unknown = client.post("/invocations", content=pieces(), headers={"content-type": "application/json"})
        assert unknown.status_code == 413
        assert client.post("/invocations", json=row()).status_code == 200


@pytest.mark.bad_input
def test_bad_input_B48_a_body_that_does_not_come_is_given_up(line):
    config = ServeConfig(lines=False, body_seconds=0.3)
    with serving([line.host("toy")], config) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port)) as slow:
            slow.sendall(
                b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"
            )
            began = time.monotonic()
            said = b"".join(iter(lambda: slow.recv(4096), b""))
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"E_SLOW" in said
        assert time.monotonic() - began < 5
        assert client.post("/invocations", json=row()).status_code == 200


@pytest.mark.bad_input
def test_bad_input_B48_a_flood_is_turned_away_and_what_was_taken_is_answered(line):
    """A model that takes its time: what waits is bounded, the rest is told when to try again."""
    host = line.host("toy")
    gate, real = threading.Event(), type(host.now).answers

    def slow(hosted, asked):
        gate.wait(20)
        return real(hosted, asked)

    config = ServeConfig(lines=False, queue_rows=8, batch_rows=4)
    with pytest.MonkeyPatch.context() as patch, serving([host], config) as client:
        patch.setattr(type(host.now), "answers", slow)
        codes = []

        def ask():
            with httpx.Client(base_url=client.base_url, timeout=30) as own:
                answer = own.post("/invocations", json=row())
                codes.append((answer.status_code, answer.headers.get("retry-after")))

        threads = [threading.Thread(target=ask) for _ in range(40)]
        for one in threads:
            one.start()
        while len(codes) < 30:
            assert any(one.is_alive() for one in threads)
            time.sleep(0.02)
        assert set(codes) == {(429, "1")}
        gate.set()
        for one in threads:
            one.join()
        assert codes.count((200, None)) + codes.count((429, "1")) == 40
        assert codes.count((200, None)) >= 9


def test_a_token_is_asked_for_everywhere_but_for_a_ping(line):
    with serving([line.host("toy")], token="s3cret") as client:
        routes = ["/invocations", "/models/toy/invocations", "/version", "/metrics", "/openapi.json"]
        for path in routes:
            method = "POST" if "invocations" in path else "GET"
            right = {"authorization": "Bearer s3cret"}
            for headers in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": "s3cret"},
                {"authorization": "Bearer \u00e9".encode()},
            ):
                said = client.request(method, path, headers=headers, **({"json": row()} if method == "POST" else {}))
                assert (said.status_code, said.json()["error_code"]) == (401, "E_TOKEN"), path
                assert "s3cret" not in said.text
            ok = client.request(method, path, headers=right, **({"json": row()} if method == "POST" else {}))
            assert ok.status_code == 200
        assert client.get("/ping").status_code == 200
        assert client.get("/nothing").status_code == 404


def test_requests_have_an_id_and_a_line_and_are_counted(line, capfd):
    with serving([line.host("toy")], ServeConfig()) as client:
        named = client.post("/invocations", json=row(), headers={"x-request-id": "mine-1"})
        assert named.headers["x-request-id"] == "mine-1"
        odd = client.post("/invocations", json=row(n="x"), headers={"x-request-id": "a b"})
        assert odd.headers["x-request-id"] not in {"", "a b"}
        said = client.get("/metrics").text
    assert 'millrace_requests_total{route="/invocations",status="200"} 1' in said
    assert 'millrace_requests_total{route="/invocations",status="400"} 1' in said
    assert 'millrace_model_info{model="toy",version="1"} 1' in said
    lines = [json.loads(one) for one in capfd.readouterr().err.splitlines() if one.startswith("{")]
    first = next(one for one in lines if one["request"] == "mine-1")
    assert (first["status"], first["rows"], first["version"], first["path"]) == (200, 1, "1", "/invocations")


def test_what_monitoring_found_is_a_gauge(line):
    host = line.host("toy")
    with serving([host]) as client:
        assert "millrace_drift" not in client.get("/metrics").text
        found = {"sizes": {'column: "n"': 0.25, "column: c": 0.01}, "alarms": ['column: "n"'], "at": 1000.4}
        drift_pointer(line.ctx.store, "toy").set(found)
        host.look()
        said = client.get("/metrics").text
    assert 'millrace_drift{model="toy",what="column: \\"n\\""} 0.25' in said
    assert 'millrace_drift_alarms{model="toy"} 1' in said
    assert 'millrace_drift_time_seconds{model="toy"} 1000' in said


def test_the_document_says_what_the_signature_says(client):
    """The example is a request by its own schema, and is answered; a wrong one is none."""
    from jsonschema import Draft202012Validator

    document = client.get("/openapi.json").json()
    content = document["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]
    schema = content["schema"] | {"components": document["components"]}
    known = Draft202012Validator(schema)
    known.validate(content["example"])
    assert client.post("/invocations", json=content["example"]).status_code == 200
    for wrong in (row(n="x"), {"dataframe_records": [{"c": "a"}]}, {"inputs": []}, {}):
        assert not known.is_valid(wrong)
        assert client.post("/invocations", json=wrong).status_code == 400
    answer = document["components"]["schemas"]["toy.answer"]
    told = client.post("/invocations", json=row()).json()["predictions"][0]
    assert set(told) == set(answer["properties"])
    Draft202012Validator(answer).validate(told)


def test_several_models_are_told_apart_by_their_names(line):
    line.register("other", 2)
    with serving([line.host("toy"), line.host("other", "1")]) as client:
        assert client.post("/invocations", json=row()).json()["error_code"] == "E_MODEL"
        for name in ("toy", "other"):
            said = client.post(f"/models/{name}/invocations", json=row())
            assert (said.status_code, said.headers["x-model-name"]) == (200, name)
        assert client.post("/models/none/invocations", json=row()).status_code == 404
        assert set(client.get("/version").json()) == {"toy", "other"}
        assert set(orjson.loads(client.get("/openapi.json").content)["paths"]) >= {"/models/toy/invocations"}

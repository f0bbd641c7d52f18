"""The page to try a model by hand, what it asks the server, and why an answer is as it is."""

import base64
import sys

import pytest

from components.serve.openapi import described
from components.serve.page import PAGE
from components.serve.wire import Asked
from tests.line import image_recipe, png, registered, write_images
from tests.serve.conftest import QUIET, row, serving


@pytest.fixture(scope="module")
def pictures(line, tmp_path_factory):
    """A server of a model of images."""
    folder = tmp_path_factory.mktemp("pictures")
    registered(image_recipe(write_images(folder / "images", each=30)), line.ctx, "pictures")
    with serving([line.host("pictures")]) as client:
        yield client


def test_an_answer_is_explained_by_its_columns(client):
    said = client.post("/explain", json=row(n=9.0))
    assert said.status_code == 200, said.text
    told = said.json()
    assert told["answer"] == client.post("/invocations", json=row(n=9.0)).json()["predictions"][0]
    assert told["classes"] == ["no", "yes"]
    explained = told["explanation"]
    assert explained["towards"] == "for yes"
    weights = {one["name"]: one["weight"] for one in explained["columns"]}
    assert set(weights) == {"n", "c"}
    other = client.post("/explain", json=row(n=-9.0)).json()["explanation"]
    assert weights["n"] > 0 > next(one["weight"] for one in other["columns"] if one["name"] == "n")


def test_a_picture_is_explained_by_pictures(pictures):
    body = {"dataframe_records": [{"image": base64.b64encode(png(30)).decode()}]}
    told = pictures.post("/explain", json=body).json()
    assert told["answer"]["prediction"] == "dark"
    shown = {one["name"]: one["source"] for one in told["explanation"]["pictures"]}
    assert {"picture", "integrated gradients", "occlusion", "Grad-CAM"} == set(shown)
    assert all(one.startswith("data:image/png;base64,") for one in shown.values())


def test_explaining_listens_at_a_network_of_its_own(line):
    """Hooks at the layers of the network that answers would be seen by whoever asks meanwhile."""
    now = line.host("toy").now
    now.explained(Asked({"n": [1.0], "c": ["a"]}, 1))
    hooks = [one._forward_hooks for one in now.predictor.network.modules()]
    assert not any(hooks)
    assert now._listened is not now.predictor.network


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"dataframe_records": [{"n": 1.0}, {"n": 2.0}]}, 400, "E_FORMAT"),
        ({"dataframe_records": [{"n": "x"}]}, 400, "E_TYPE"),
        ({"dataframe_records": [{"c": "x"}]}, 400, "E_COLUMN_MISSING"),
    ],
)
@pytest.mark.bad_input
def test_bad_input_B48_what_cannot_be_explained_is_told_so(client, body, status, code):
    said = client.post("/explain", json=body)
    assert (said.status_code, said.json()["error_code"]) == (status, code)


def test_without_captum_the_answer_comes_alone(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    told = client.post("/explain", json=row()).json()
    assert told["explanation"] is None
    assert "captum is not installed" in told["why_not"]
    assert told["answer"]["prediction"] in {"no", "yes"}


def test_a_file_comes_as_itself_or_in_a_form(pictures):
    bright, dark = png(220), png(30)
    wanted = [
        pictures.post("/invocations", json={"inputs": {"image": [base64.b64encode(one).decode()]}}).json()[
            "predictions"
        ]
        for one in (bright, dark)
    ]
    alone = pictures.post("/invocations", content=bright, headers={"content-type": "image/png"})
    assert alone.json()["predictions"] == wanted[0]
    form = pictures.post("/invocations", files=[("image", ("a.png", bright)), ("image", ("b.png", dark))])
    assert form.status_code == 200, form.text
    assert [one["prediction"] for one in form.json()["predictions"]] == ["light", "dark"]


def test_a_form_holds_the_cells_of_a_table(client):
    said = client.post("/invocations", files={"n": (None, "9"), "c": (None, "")})
    assert said.json() == client.post("/invocations", json=row(n=9.0, c=None)).json()


FORM = {"content-type": "multipart/form-data; boundary=x"}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("asked", "status", "code", "said"),
    [
        ({"content": b"\x89PNG", "headers": {"content-type": "image/png"}}, 422, "E_IMAGE", ""),
        ({"content": b"", "headers": {"content-type": "image/png"}}, 400, "E_NO_ROWS", ""),
        ({"files": {"image": (None, "text")}}, 400, "E_TYPE", "image has to be a file"),
        ({"files": {"other": ("a.png", b"1")}}, 400, "E_NO_ROWS", ""),
        ({"content": b"nothing", "headers": FORM}, 400, "E_", ""),
        ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, 400, "E_FORMAT", "no form"),
        ({"content": b"--x\r\n\r\n\r\n--x--", "headers": FORM}, 400, "E_FORMAT", "no form"),
        ({"files": [("image", (f"{at}.png", b"1")) for at in range(10_001)]}, 413, "E_TOO_MANY_ROWS", "10,000"),
    ],
)
def test_bad_input_B48_files_that_are_wrong_are_told_so(pictures, asked, status, code, said):
    answer = pictures.post("/invocations", **asked)
    assert (answer.status_code, answer.json()["error_code"][: len(code)]) == (status, code), answer.text
    assert said in answer.json()["message"]


@pytest.mark.bad_input
def test_bad_input_B48_a_table_takes_no_file_and_columns_of_one_length(client):
    alone = client.post("/invocations", content=png(3), headers={"content-type": "image/png"})
    assert (alone.status_code, alone.json()["error_code"]) == (415, "E_CONTENT_TYPE")
    form = client.post("/invocations", files=[("n", (None, "1")), ("n", (None, "2")), ("c", (None, "a"))])
    assert (form.status_code, form.json()["error_code"]) == (400, "E_FORMAT")


def test_the_page_says_nothing_of_the_models_and_runs_no_script_but_its_own(line):
    with serving([line.host("toy")], QUIET, "secret-token") as client:
        assert client.get("/openapi.json").status_code == 401
        for route in PAGE:
            said = client.get(route)
            assert said.status_code == 200
            policy = said.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "toy" not in said.text
            # Addresses of others would be asked over a network that may not be there.
            assert "http" not in said.text.replace("http://www.w3.org/2000/svg", "")


def test_the_document_names_what_the_page_needs(line):
    hosted = line.host("toy").now
    document = described([hosted])
    post = document["paths"]["/invocations"]["post"]
    assert document["components"]["schemas"][post["x-row"]]["properties"].keys() == {"n", "c"}
    assert "/explain" in document["paths"]

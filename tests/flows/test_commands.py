"""The commands that run no flow: recipes, show, schema, step, doctor, gc, promote, rollback, champions."""

import json
import socket

import pytest

from components.context import open_context
from components.contracts.errors import ConfigError, masked
from components.contracts.placement import Placement
from flows import pages
from flows.doctor import diagnose
from flows.pipeline import load_recipe, resolved
from flows.recipe_files import names
from tests.flows.recipe_lines import ingested

pytestmark = pytest.mark.usefixtures("own_environment")


def test_recipes_tells_what_each_promises(placement, capsys, tmp_path, mine, monkeypatch):
    (tmp_path / "broken.yaml").write_text("name: 3\n")
    with_own = placement.model_copy(update={"recipes": tmp_path})
    pages.recipes(with_own, as_json=True)
    said = capsys.readouterr()
    found = {one["name"]: one for one in json.loads(said.out)}
    assert set(found) == {*names(), "mine"}
    assert found["digits-cnn"]["floor"] == 0.985
    assert {"data", "metric", "floor", "quick", "seeds"} <= set(found["adult-mlp"])
    assert "broken cannot be read: E_CONFIG" in said.err
    monkeypatch.setenv("COLUMNS", "60")
    pages.recipes(placement, as_json=False)
    told = capsys.readouterr().out.splitlines()
    assert "digits-cnn  built in, accuracy 0.985" in told
    assert any(line.startswith("cifar10-resnet  ") and line.endswith("accuracy 0.94 on a GPU") for line in told)


@pytest.mark.parametrize("name", names())
def test_what_show_prints_is_the_same_recipe_again(placement, capsys, tmp_path, name):
    pages.show(placement, name, ["train.seed=7"], as_json=False)
    path = tmp_path / "again.yaml"
    path.write_text(capsys.readouterr().out)
    again = resolved(load_recipe(str(path)))
    assert again["train"]["seed"] == 7
    pages.show(placement, name, ["train.seed=7"], as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert again | {"source": ...} == shown | {"source": ...}


def test_schema_is_json(capsys):
    pages.schema()
    assert json.loads(capsys.readouterr().out)["title"] == "Millrace recipe"


def test_steps_run_one_by_one_from_records(placement, capsys, mine):
    for name, expected in (("ingest", 240), ("validate", 240), ("clean", 240)):
        pages.step(placement, name, mine, [], [], as_json=True)
        told = json.loads(capsys.readouterr().out)
        assert (told["step"], told["reused"], told["rows"]) == (name, False, expected)
    first = told["fingerprint"]
    pages.step(placement, "clean", mine, [], [], as_json=True)
    assert json.loads(capsys.readouterr().out)["reused"] is True
    changed = ["cleaning.0={kind: require, columns: [c]}"]
    pages.step(placement, "clean", mine, changed, [], as_json=True)
    assert json.loads(capsys.readouterr().out)["rows"] < 240
    pages.step(placement, "preprocess", mine, [], [f"clean={first}"], as_json=True)
    assert sum(json.loads(capsys.readouterr().out)["result"]["rows"].values()) == 240


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("clena", [], "NAME: there is no such step; nearest: clean"),
        ("clean", [], "--input validate: mine has not run this step yet; run `millrace step validate` first"),
        ("clean", ["validate=0123"], "--input validate: the store has no such result .got '0123'"),
        ("clean", ["ingest=0123"], "--input: clean takes no such input .got 'ingest'.; allowed: validate"),
        ("ingest", ["x=y"], "allowed: none: it starts the line"),
        ("clean", ["x"], "an input is STEP=FINGERPRINT"),
    ],
)
def test_a_step_that_cannot_start_is_one_line(placement, mine, name, given, expected):
    with pytest.raises(ConfigError, match=expected):
        pages.step(placement, name, mine, [], given, as_json=True)


def states(placement):
    return {check.name: check for check in diagnose(placement).checks}


def test_a_healthy_machine_is_told_so(placement, capsys):
    assert pages.doctor(placement, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["healthy"] is True
    assert {one["name"]: one["state"] for one in found["checks"]} | {"tracking": "", "platform": ""} == {
        "platform": "",
        "lock": "ok",
        "home": "ok",
        "store": "ok",
        "tracking": "",
        "prefect": "ok",
        "dask": "ok",
        "data": "ok",
        "devices": "ok",
        "extras": "ok",
    }
    assert found["settings"]["store"] == str(placement.store_folder)
    assert "prefect" in found["versions"]
    assert pages.doctor(placement, as_json=False) == 0
    assert "platform" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        ({"dask_address": "tcp://127.0.0.1:9"}, "dask", "no scheduler answers at tcp://127.0.0.1:9"),
        ({"prefect_api_url": "http://127.0.0.1:9/api"}, "prefect", "E_SERVER_UNREACHABLE: no Prefect server"),
        ({"tracking_uri": "http://127.0.0.1:9"}, "tracking", "E_SERVER_UNREACHABLE: no MLflow server"),
        ({"store": "s3://none-such/x"}, "store", "E_STORE: there is no such bucket"),
        ({"data": "nowhere"}, "data", "nowhere is no folder"),
    ],
)
def test_what_is_wrong_is_found_and_has_a_fix(s3, tmp_path, change, check, said):
    found = states(Placement.model_validate({"home": tmp_path, **change}))
    assert (found[check].state, found[check].said[: len(said)]) == ("failed", said)
    assert found[check].fix
    assert [name for name, one in found.items() if one.state == "failed"] == [check]


def test_doctor_shows_no_password(tmp_path):
    found = diagnose(Placement(home=tmp_path, tracking_uri="postgresql://me:hunter2@127.0.0.1:9/db"))
    assert "hunter2" not in found.model_dump_json()
    assert masked("http://me:hunter2@host/x") == "http://me:***@host/x"


def test_a_step_follows_a_rerun_that_was_asked_for(placement, capsys, mine):
    first = ingested(placement, capsys, mine)
    open_context(placement, "mine").reruns(["ingest"])
    assert ingested(placement, capsys, mine) != first


@pytest.mark.e2e
def test_results_that_do_not_belong_together_are_refused(placement, capsys, mine):
    def run(name, *given, changes=()):
        pages.step(placement, name, mine, ["train.max_epochs=1", *changes], list(given), as_json=True)
        return json.loads(capsys.readouterr().out)["fingerprint"]

    for name in ("ingest", "validate", "clean", "preprocess"):
        first = run(name)
    checkpoint = run("train")
    other = run("preprocess", changes=["split.test=0.4"])
    with pytest.raises(ConfigError, match="this train result was not made from this preprocess result"):
        run("package")
    package = run("package", f"train={checkpoint}", f"preprocess={first}")
    with pytest.raises(ConfigError, match="this package result was not made from this preprocess result"):
        run("evaluate", f"package={package}", f"preprocess={other}")
    run("evaluate", f"package={package}", f"preprocess={first}")
    run("gate")
    again = run("train", f"preprocess={first}", changes=["train.seed=5"])
    ungated = run("package", f"train={again}", f"preprocess={first}")
    with pytest.raises(ConfigError, match="this gate result was not made from this package result"):
        run("register", f"package={ungated}")


def test_what_cannot_be_served_is_one_line(millrace):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, code, said in (
            (
                ("nobody", "--port", "0"),
                2,
                "E_CONFIG NAME: no model of that name was ever champion (got 'nobody')",
            ),
            (("nobody", "--port", "0", "--workers", "2"), 2, "E_CONFIG NAME: no model of that name was ever champion"),
            (("nobody@7", "--port", "0"), 2, "E_CONFIG NAME: there is no such version that a run registered whole"),
            (
                ("nobody", "--address", "0.0.0.0"),
                2,
                "E_CONFIG --address: an address that other machines reach needs a token",
            ),
            (("nobody", "--port", port), 1, "E_PORT_TAKEN --port: the port cannot be listened at"),
        ):
            process = millrace("serve", *arguments)
            assert (process.returncode, process.err.count("\n")) == (code, 1), process.err
            assert said in process.err


@pytest.mark.e2e
def test_a_person_promotes_and_rolls_back_and_all_of_it_is_told(millrace, first):
    for seed in (0, 7):
        made = millrace.run("digits-cnn", "--set", f"train.seed={seed}", "--set", "register.name=led")
    assert (made["model"]["version"], made["model"]["aliases"]) == (2, ["challenger", "champion"])
    back = millrace("rollback", "led", "--why", "slow answers", "--who", "ada", "--json")
    assert (back.returncode, json.loads(back.out)["version"]) == (0, "1")
    again = millrace.run("digits-cnn", "--set", "train.seed=7", "--set", "register.name=led")
    assert (again["state"], again["model"]["aliases"]) == ("Unchanged", ["challenger"])
    assert "version 2 stays challenger: ada rolled it back (slow answers)" in again["err"]
    lone = millrace("rollback", "led", "--why", "more")
    assert (lone.returncode, lone.err.count("\n")) == (2, 1)
    assert "E_CONFIG NAME: no champion stood before this one (got 'led')" in lone.err
    other = millrace("promote", "lde", "2", "--why", "x")
    assert (other.returncode, "no model of that name was ever champion" in other.err) == (2, True)
    assert "version 2" in millrace("promote", "led", "2", "--why", "measured again").out
    told = json.loads(millrace("champions", "led", "--json").out)
    assert [one["version"] for one in told["champions"]["led"]] == ["1", "2", "1", "2"]
    shown = millrace("champions", "led").out
    assert "rolled back by ada: slow answers" in shown
    assert len(shown.splitlines()) == 4
    assert any(line.startswith("  led version 2 ") for line in millrace("champions").out.splitlines())

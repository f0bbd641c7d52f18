"""The commands that run no flow: recipes, show, schema, step, doctor, gc, promote, rollback, champions."""

import json
import os
import socket
import time

import pytest

from components.adapters.pointers import Lease, Pointer
from components.context import open_context
from components.contracts.artifacts import RawSnapshot
from components.contracts.errors import ConfigError, EnvironmentFault, masked
from components.contracts.fingerprint import Fingerprint
from components.contracts.placement import Placement
from flows import pages
from flows.collection import collected
from flows.doctor import diagnose
from flows.pipeline import load_recipe, resolved
from flows.recipe_files import names
from flows.step import run_step
from tests.line import write_table

RECIPE = """
name: mine
source: {kind: files, uri: table}
features: [{kind: number, columns: [n]}, {kind: category, columns: [c]}]
target: {kind: label, column: label}
model: {kind: mlp, hidden: [4]}
objective: {kind: classification}
"""


@pytest.fixture(autouse=True)
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
    path.write_text(RECIPE)
    assert len(RECIPE.strip().splitlines()) <= 10, "what a newcomer writes for a table of their own"
    return str(path)


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


def aged(store, days):
    """Everything in a local store, so many days older."""
    for path in store.files.root.rglob("*"):
        os.utime(path, (time.time() - days * 86400,) * 2)


def ingested(placement, capsys, mine, *changes):
    pages.step(placement, "ingest", mine, list(changes), [], as_json=True)
    return json.loads(capsys.readouterr().out)["fingerprint"]


def test_gc_keeps_the_last_results_and_recent_runs_and_frees_the_rest_in_two_goes(placement, capsys, mine):
    old = ingested(placement, capsys, mine)
    run = ingested(placement, capsys, mine, "source.null_values=['x']")
    last = ingested(placement, capsys, mine, "source.null_values=['y']")
    ctx = open_context(placement)
    value = {"results": {"ingest": run}, "report": "", "waits": False, "ended": time.time()}
    Pointer(ctx.store, "runs/abc").set(value)
    aged(ctx.store, 8)
    pages.gc(placement, 30.0, dry_run=True, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert {one["place"].split("/")[-2] for one in told["removed"] if "/parts/" not in one["place"]} == {old}
    assert ctx.store.artifact("ingest", old).record(), "a dry run removes nothing"
    pages.gc(placement, 30.0, dry_run=False, as_json=False)
    assert "more are freed when this runs again in seven days" in capsys.readouterr().out.replace("\n", " ")
    kept = [name for name in (old, run, last) if ctx.store.artifact("ingest", name).record()]
    assert kept == [run, last]
    size = ctx.store.files.size("ingest")
    aged(ctx.store, 8)
    pages.gc(placement, 30.0, dry_run=False, as_json=True)
    assert json.loads(capsys.readouterr().out)["bytes"]["bytes"] > 0
    assert ctx.store.files.size("ingest") < size
    pages.gc(placement, 0.0, dry_run=True, as_json=True)
    assert run in capsys.readouterr().out, "the run is no longer recent"


def test_gc_does_not_break_a_run_under_way(placement, capsys, mine):
    """A run has read its input; a collection comes between; it goes on, and its result can be used."""
    ingested(placement, capsys, mine)
    ctx = open_context(placement, "mine")
    config = load_recipe(mine)
    raw = ctx.load(RawSnapshot, _last(ctx, "ingest"))
    Pointer(ctx.store, "last/mine/ingest").set(_other(ctx))
    aged(ctx.store, 8)
    _, gone = collected(ctx.store, ctx.tracker, keep_days=30, really=True)
    assert len(gone) == 1 + len(raw.parts)
    valid = run_step("validate", config, {"ingest": raw.fingerprint}, ctx)
    assert valid.rows == 240


def _last(ctx, step):
    return Fingerprint.model_validate(Pointer(ctx.store, f"last/mine/{step}").read().value).key


def _other(ctx):
    value = dict(Pointer(ctx.store, "last/mine/ingest").read().value)
    return value | {"rerun": 1}


def test_one_collection_at_a_time(placement, monkeypatch):
    monkeypatch.setattr("flows.collection.RENEW_SECONDS", 0.2)
    monkeypatch.setattr("flows.collection.POLL_SECONDS", 0.05)
    ctx = open_context(placement)
    other = Lease(ctx.store, "collection", "other", 60)
    assert other.acquire()
    with pytest.raises(EnvironmentFault, match="E_STORE gc: another garbage collection is at work"):
        collected(ctx.store, ctx.tracker, keep_days=30, really=True)
    assert other.release()
    crashed = Lease(ctx.store, "collection", "crashed", 0.2)
    assert crashed.acquire()
    kept, _ = collected(ctx.store, ctx.tracker, keep_days=30, really=True)
    assert kept.models == 0


def test_gc_keeps_the_champion_that_this_registry_does_not_know(placement, capsys, mine):
    fingerprint = ingested(placement, capsys, mine)
    ingested(placement, capsys, mine, "source.null_values=['x']")
    ctx = open_context(placement)
    Pointer(ctx.store, "champion/shared").set({"fingerprint": fingerprint, "version": "7"})
    (ctx.store.files.root / "pointers" / "runs" / "died").mkdir(parents=True)
    aged(ctx.store, 8)
    assert collected(ctx.store, ctx.tracker, keep_days=30, really=False)[1] == []


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


def test_gc_asks_the_registry_and_removes_nothing_when_it_does_not_answer(tmp_path, capsys):
    placement = Placement(home=tmp_path, tracking_uri="http://127.0.0.1:9")
    with pytest.raises(EnvironmentFault, match="E_SERVER_UNREACHABLE"):
        pages.gc(placement, 30.0, dry_run=False, as_json=True)


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


@pytest.mark.parametrize(("where", "what"), [("training", "unfinished"), ("environments", "environment")])
def test_what_nobody_goes_on_with_is_garbage_after_a_while(tmp_path, where, what):
    from flows.collection import abandoned

    for name in ("old", "new"):
        folder = tmp_path / where / name / "0000000007"
        folder.mkdir(parents=True)
        (folder / "weights.safetensors").write_bytes(b"1234")
    if where == "environments":
        (tmp_path / where / "old.lock").touch()
    for path in (tmp_path / where / "old").rglob("*"):
        os.utime(path, (1, 1))
    os.utime(tmp_path / where / "old", (1, 1))
    (told,) = abandoned(tmp_path, keep_days=30, really=False)
    assert (told.what, told.bytes, (tmp_path / where / "old").exists()) == (what, 4, True)
    assert len(abandoned(tmp_path, keep_days=30, really=True)) == 1
    assert [one.name for one in (tmp_path / where).glob("*/")] == ["new"]


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

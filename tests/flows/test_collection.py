"""`millrace gc`: what it keeps, and what it does while others work."""

import json
import os
import time

import pytest

from components.adapters.leases import Lease
from components.adapters.pointers import Pointer
from components.context import open_context
from components.contracts.artifacts import RawSnapshot
from components.contracts.errors import EnvironmentFault
from components.contracts.fingerprint import Fingerprint
from components.contracts.placement import Placement
from components.registered import lineage_pointer
from flows import pages
from flows.collection import abandoned, collected
from flows.pipeline import load_recipe
from flows.step import run_step
from tests.adapters.entries import write
from tests.flows.recipe_lines import ingested

pytestmark = pytest.mark.usefixtures("own_environment")


def aged(store, days):
    """Everything in a local store, so many days older."""
    for path in store.files.root.rglob("*"):
        os.utime(path, (time.time() - days * 86400,) * 2)


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


def test_what_a_package_was_made_of_goes_when_it_is_gone(placement):
    ctx = open_context(placement)
    write(ctx.store.artifact("package", "a" * 32), b"x")
    for name in ("a" * 32, "b" * 32):
        lineage_pointer(ctx.store, name).set({"recipe": "mine"})
    collected(ctx.store, ctx.tracker, keep_days=30, really=False)
    assert len(ctx.store.files.names("pointers/lineage")) == 2
    collected(ctx.store, ctx.tracker, keep_days=30, really=True)
    assert ctx.store.files.names("pointers/lineage") == ["a" * 32]
    aged(ctx.store, 40)
    collected(ctx.store, ctx.tracker, keep_days=30, really=True)
    assert ctx.store.files.names("pointers/lineage") == ["a" * 32], "its bytes are still there"
    aged(ctx.store, 40)
    collected(ctx.store, ctx.tracker, keep_days=30, really=True)
    assert ctx.store.files.names("pointers/lineage") == []


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


def test_gc_asks_the_registry_and_removes_nothing_when_it_does_not_answer(tmp_path, capsys):
    placement = Placement(home=tmp_path, tracking_uri="http://127.0.0.1:9")
    with pytest.raises(EnvironmentFault, match="E_SERVER_UNREACHABLE"):
        pages.gc(placement, 30.0, dry_run=False, as_json=True)


@pytest.mark.parametrize(("where", "what"), [("training", "unfinished"), ("environments", "environment")])
def test_what_nobody_goes_on_with_is_garbage_after_a_while(tmp_path, where, what):

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

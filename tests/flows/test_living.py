import json
from pathlib import Path

import pytest

from components.adapters.leases import Lease
from components.adapters.pointers import Pointer
from components.context import open_context
from components.contracts.errors import ConflictError, EnvironmentFault
from components.contracts.placement import Placement
from flows.living import Gone, alive, declare_dead, forget, gone, numbers_under_way, silent, store_tag, under_way
from tests.adapters.entries import write


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("flows.living.RENEW_SECONDS", 0.1)
    monkeypatch.setattr("flows.living.LOOK_SECONDS", 0.02)


def test_a_run_that_ended_badly_is_not_gone(ctx):
    with pytest.raises(KeyError), alive(ctx, "a", "7"):
        assert gone(ctx.placement) == [], "it lives"
        assert under_way(ctx.placement) == {"a": True}
        assert numbers_under_way(ctx) == {"7"}
        raise KeyError
    assert gone(ctx.placement) == []
    assert numbers_under_way(ctx) == set()
    (ctx.placement.home / "runs" / "b.json").write_text('{"run": "b", "process": 1, "prefect_run": "p"}')
    (ctx.placement.home / "runs" / "c.json").write_text("")
    assert gone(ctx.placement) == [Gone(name="b", prefect_run="p"), Gone(name="c")]


def test_nothing_is_left_of_a_run_that_ended(ctx):
    for fails in (False, True):
        try:
            with alive(ctx, "a"):
                Pointer(ctx.store, "p").set({"fails": fails})
                assert not fails
        except AssertionError:
            pass
        assert ctx.store.files.names("pointers/leases/runs") == []
        assert list((ctx.placement.home / "runs").iterdir()) == []


def test_a_run_elsewhere_is_dead_when_its_lease_is_silent_and_one_that_lives_is_not(ctx, tmp_path, quick):
    """Two machines share a store; nothing is known of the other but its leases."""
    elsewhere = open_context(Placement(home=tmp_path / "elsewhere", store=str(ctx.placement.store_folder)), "other")
    lost = Lease(ctx.store, "runs/lost", "lost", 0.1, about={"prefect_run": "8"})
    assert lost.acquire()
    said = []
    with alive(elsewhere, "living", "9"):
        elsewhere.store.fence()
        assert numbers_under_way(ctx) == {"8", "9"}
        assert silent(ctx, said.append) == [Gone(name="lost", prefect_run="8")]
        assert numbers_under_way(ctx) == {"9"}
        assert silent(ctx, said.append) == [Gone(name="lost", prefect_run="8")], "told until it is forgotten"
        forget(ctx, "lost")
        assert silent(ctx, said.append) == []
        write(elsewhere.store.artifact("s", "f"), b"x")
    assert said[0] == "looking at 2 runs: each shows every 0.1 s that it lives"
    with pytest.raises(ConflictError, match="E_LEASE runs/lost"):
        lost.check()


def test_what_a_run_writes_after_it_was_declared_dead_is_refused(ctx):
    with pytest.raises(ConflictError, match="E_LEASE runs/a"), alive(ctx, "a"):
        Pointer(ctx.store, "p").set({"v": 1})
        assert declare_dead(ctx.store, "a")
        assert declare_dead(ctx.store, "a"), "by whoever finds it so"
        # Its own watch is over: it renewed less than a renewal ago, and so may still write for that long.
        Pointer(ctx.store, "p").set({"v": 2})
        ctx.store.fence.__self__._renewed -= 60
        Pointer(ctx.store, "p").set({"v": 3})
    assert Pointer(ctx.store, "p").read().value == {"v": 2}


def test_a_run_that_renews_while_it_is_judged_lives(ctx):
    lease = Lease(ctx.store, "runs/a", "a", 20)
    assert lease.acquire()
    assert lease.renew()
    assert not declare_dead(ctx.store, "a", after=1), "it was seen at its first epoch, and has made one since"
    lease.check()
    assert declare_dead(ctx.store, "a", after=2)
    assert not lease.renew()


def test_a_store_that_does_not_answer_ends_no_training(ctx):
    def away():
        raise EnvironmentFault("E_IO", "gone", place="store", action="wait")

    def dead():
        raise ConflictError("E_LEASE", "dead", place="runs/a", action="look")

    ctx.store.fence = away
    ctx.store.still_ours()
    ctx.store.fence = dead
    with pytest.raises(ConflictError):
        ctx.store.still_ours()


def test_who_watches_is_not_watched(ctx, quick):
    with alive(ctx, "own"):
        said = []
        assert silent(ctx, said.append, own="own") == []
        assert said == []


def test_a_store_is_told_from_others():
    tags = {
        store_tag(Placement(home=Path(home), store=store))
        for home, store in (("/a", ""), ("/b", ""), ("/a", "/s"), ("/a", "s3://some/x"), ("/b", "s3://some/x"))
    }
    assert len(tags) == 4, "one bucket is the same from everywhere"


def test_a_run_that_ended_is_not_declared_dead(ctx):
    with alive(ctx, "a"):
        pass
    assert not declare_dead(ctx.store, "a")
    lease = Lease(ctx.store, "runs/b", "b", 20)
    assert lease.acquire()
    assert lease.release()
    assert not declare_dead(ctx.store, "b")
    assert silent(ctx) == []
    assert ctx.store.files.names("pointers/leases/runs") == [], "what it did not tidy up is gone"


def test_a_file_without_a_process_tells_of_its_lease(ctx):
    """The process was killed: the file says so at once, and its lease is told too."""
    lease = Lease(ctx.store, "runs/a", "a", 20, about={"prefect_run": "5"})
    assert lease.acquire()
    folder = ctx.placement.home / "runs"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps({"run": "a", "process": 1, "prefect_run": "5"}))
    assert gone(ctx.placement) == [Gone(name="a", prefect_run="5")]
    assert declare_dead(ctx.store, "a")
    assert not lease.renew()
    forget(ctx, "a")
    assert gone(ctx.placement) == []

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.adapters.leases import Lease, kept
from components.adapters.local_files import LocalFiles
from components.adapters.pointers import Pointer
from components.adapters.store import Store
from components.adapters.stores import open_store
from components.contracts.errors import ConflictError, EnvironmentFault
from tests.adapters.entries import write


@pytest.fixture
def store(either):
    """Every kind of store in turn."""
    return open_store(either)


def test_a_lease_is_taken_once_renewed_and_freed(store):
    now = [0.0]
    first, second = (Lease(store, "l", name, 10, clock=lambda: now[0]) for name in ("first", "second"))
    assert first.acquire()
    assert not second.acquire()
    now[0] = 29
    assert not second.acquire()
    assert first.renew()
    now[0] = 40
    assert not second.acquire(), "a renewal starts the observer's wait anew"
    now[0] = 70
    assert second.acquire()
    assert not first.renew(), "the old holder learns that it lost"
    assert second.epoch > 2
    assert second.release()
    assert first.acquire()


def test_a_lease_of_two_observers_goes_to_one(store):
    won, barrier = [], threading.Barrier(2)

    def take(name):
        barrier.wait()
        won.append(Lease(store, "l", name, 10).acquire())

    threads = [threading.Thread(target=take, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False, True]


def test_the_files_of_a_lease_do_not_grow_with_time(store):
    lease = Lease(store, "l", "a", 10)
    assert lease.acquire()
    for _ in range(5):
        assert lease.renew()
    assert lease.epoch == 6
    assert Pointer(store, "leases/l").numbers() == [5, 6]


def test_who_slept_while_the_lease_went_on_does_not_get_back_in(store):
    """The epoch behind its own was made and removed again: the file that it can create must not count."""
    now = [0.0]
    sleeper, other = (Lease(store, "l", name, 10, clock=lambda: now[0]) for name in ("sleeper", "other"))
    assert sleeper.acquire()
    assert not other.acquire()
    now[0] = 30
    assert other.acquire()
    for _ in range(3):
        assert other.renew()
    assert 2 not in Pointer(store, "leases/l").numbers()
    with pytest.raises(ConflictError, match="E_LEASE l: another process took this one for dead"):
        sleeper.check()
    other.check()
    assert other.renew()
    Pointer(store, "leases/l").clear()
    assert not other.renew(), "nor into one that was cleared away"
    assert Pointer(store, "leases/l").numbers() == []


def test_a_renewal_that_seemed_to_fail_is_found_to_be_ours(store):
    lease = Lease(store, "l", "a", 10)
    assert lease.acquire()
    assert Pointer(store, "leases/l").move({"holder": "a", "renew_seconds": 10, "by": "a call cut short"}, after=1)
    assert lease.renew()


def test_a_first_try_that_seemed_to_fail_is_found_to_be_ours(store):
    """The file was made, and what was asked after it failed: who asks again must not take itself for somebody else."""
    assert Pointer(store, "leases/l").move({"holder": "a", "renew_seconds": 10}, after=0)
    lease, other = Lease(store, "l", "a", 10), Lease(store, "l", "b", 10)
    lease.check()
    assert not other.acquire()
    assert lease.renew()


def test_a_lease_is_let_go_also_after_a_renewal_that_seemed_to_fail(store):
    lease = Lease(store, "l", "a", 10)
    assert lease.acquire()
    assert Pointer(store, "leases/l").move({"holder": "a", "renew_seconds": 10}, after=1)
    assert lease.release()
    assert Pointer(store, "leases/l").read().value["holder"] == ""


def test_nothing_is_written_past_the_fence_of_a_lost_lease(store):
    now = [0.0]
    run, observer = (Lease(store, "l", name, 10, clock=lambda: now[0]) for name in ("run", "observer"))
    assert run.acquire()
    store.fence = run.check
    write(store.artifact("s", "before"), b"x")
    assert Pointer(store, "p").move({"v": 1}, after=0)
    assert not observer.acquire()
    now[0] = 30
    write(store.artifact("s", "late"), b"x")
    assert not observer.acquire(), "it wrote, and so showed that it lives"
    now[0] = 60
    assert observer.acquire()
    for writes in (
        lambda: write(store.artifact("s", "dead"), b"x"),
        lambda: Pointer(store, "p").move({"v": 2}, after=1),
        lambda: Pointer(store, "p").set({"v": 2}),
    ):
        with pytest.raises(ConflictError, match="E_LEASE"):
            writes()
    assert store.artifact("s", "dead").record() is None
    assert Pointer(store, "p").read().value == {"v": 1}
    again = open_store_like(store)
    assert write(again.artifact("s", "dead"), b"x").reused is False


def open_store_like(store):
    return Store(store.files)


def test_a_lease_is_kept_while_the_store_stops_answering_for_a_while(tmp_path):
    files = LocalFiles(tmp_path)
    lease = Lease(Store(files), "l", "a", 0.05)
    assert lease.acquire()
    create, away, asked = files.create, threading.Event(), threading.Event()

    def failing(*arguments):
        if away.is_set():
            asked.set()
            raise EnvironmentFault("E_IO", "gone", place="store", action="wait")
        return create(*arguments)

    files.create = failing
    with kept(lease):
        away.set()
        assert asked.wait(10)
        away.clear()
        before = lease.epoch
        while lease.epoch == before:
            pass
        lease.check()
    assert Pointer(Store(files), "leases/l").read().value["holder"] == ""


STEPS = st.lists(
    st.tuples(st.sampled_from(["acquire", "renew", "check", "release"]), st.integers(0, 2), st.integers(0, 12)),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_two_pass_the_fence_at_one_time(tmp_path_factory, steps):
    """Three processes take, renew, let go and sleep as they like: who passes was the last to take it."""
    now, owner = [0.0], None
    store = Store(LocalFiles(tmp_path_factory.mktemp("store")))
    leases = [Lease(store, "l", str(number), 3, clock=lambda: now[0]) for number in range(3)]
    for what, number, seconds in steps:
        now[0] += seconds
        lease = leases[number]
        if what == "acquire":
            owner = number if lease.epoch is None and lease.acquire() else owner
        elif what == "renew":
            assert not lease.renew() or owner == number
        elif what == "release":
            owner = None if lease.release() else owner
        else:
            try:
                lease.check()
            except ConflictError:
                continue
            # Who asks for the first time takes what is free, and what nobody renewed.
            assert owner in {number, None} or not leases[owner].renew(), "two hold it"
            owner = number

"""What only an object store can do wrong."""

import asyncio
import os
import re
import signal
import threading

import pytest

from components.adapters.file_cache import FileCache
from components.adapters.pointers import Pointer
from components.adapters.s3_requests import PART_BYTES
from components.adapters.stores import open_store
from components.contracts.errors import EnvironmentFault, IntegrityError
from components.contracts.placement import Placement
from tests.adapters.entries import write


@pytest.fixture
def placement(tmp_path, s3):
    return Placement(home=tmp_path / "home", store=s3.bucket())


@pytest.fixture
def store(placement):
    return open_store(placement)


def keys(s3, store):
    found = s3.client().list_objects_v2(Bucket=store.files.bucket).get("Contents", ())
    return {one["Key"].removeprefix("store/"): one["Size"] for one in found}


def test_another_machine_sees_a_commit_at_once_and_reads_it(store, placement, tmp_path):
    other = open_store(Placement(home=tmp_path / "other", store=placement.store))
    assert other.artifact("s", "f").record() is None
    assert other.files.names("s/f") == []
    made = write(store.artifact("s", "f"), b"hello")
    assert other.artifact("s", "f").record() == made
    assert other.files.names("s/f") == sorted([made.attempt, "record.json"])
    assert other.open(made, "x").read_bytes() == b"hello"


@pytest.mark.parametrize("what", ["cut-before", "cut-after", "503"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_one_lost_answer_is_made_good_and_counts_once(s3, store, what, at):
    pointer = Pointer(store, "p")
    with s3.ruled(lambda number, *_: what if number == at else "pass") as door:
        assert pointer.move({"v": 1}, after=0)
        assert pointer.read().value == {"v": 1}
    assert [one.epoch for one in pointer.history()] == [1]
    assert len(door.log) > 3


def test_the_loser_of_a_lost_answer_knows_that_it_lost(s3, store, tmp_path, placement):
    """The first put is lost on its way, and another writer is there before the second."""
    other = open_store(Placement(home=tmp_path / "other", store=placement.store))

    pause, real = [], store.files._sync

    def between(work, name=None):
        if not pause and s3.door.log:
            pause.append(1)
            assert other.files.create("p", b"theirs")
        return real(work, name)

    store.files._sync = between
    with s3.ruled(lambda *_: "pass" if pause else "cut-before"):
        assert store.files.create("p", b"theirs") is False, "equal bytes of two writers are still two writers"
    assert pause


def test_a_store_that_stays_away_is_one_line_and_nothing_is_committed(s3, store):

    def rule(_, method, path):
        return "503" if method == "PUT" and path.endswith("record.json") else "pass"

    with s3.ruled(rule), pytest.raises(EnvironmentFault, match=r"E_IO s3://.*record.json: the object store reported"):
        write(store.artifact("s", "f"))
    assert store.artifact("s", "f").record() is None
    assert write(store.artifact("s", "f")).reused is False


def test_a_body_that_ends_early_never_becomes_an_object(s3, store):
    """The server gets half of what was announced, each time it is tried; the client is cut off."""

    def rule(_, method, path):
        return "half" if method == "PUT" and path.endswith("/x") else "pass"

    seen = []
    with store.artifact("s", "f").attempt() as attempt:
        (attempt.folder / "x").write_bytes(bytes(100_000))
        with s3.ruled(rule) as door, pytest.raises(EnvironmentFault, match="E_SERVER_UNREACHABLE s3://"):
            attempt.commit({})
        seen = [length for method, path, _, length in door.log if method == "PUT" and path.endswith("/x")]
        assert set(keys(s3, store)) == {".probe"}, "nothing truncated is visible, not even before it is taken away"
    assert set(seen) == {100_000}
    assert store.artifact("s", "f").record() is None


def test_a_failed_upload_leaves_nothing_behind(s3, store):
    """Two parts of a large object are refused for good: the upload is aborted, small ones before it are taken away."""
    with store.artifact("s", "f").attempt() as attempt:
        (attempt.folder / "a").write_bytes(b"a")
        with (attempt.folder / "large").open("wb") as file:
            file.truncate(2 * PART_BYTES + 1)
        with s3.ruled(lambda _, method, path: "403" if method == "PUT" and path.endswith("large") else "pass") as door:
            with pytest.raises(EnvironmentFault, match="E_CREDENTIALS"):
                attempt.commit({})
            assert any(method == "DELETE" and "uploadId" in query for method, _, query, _ in door.log)
    assert set(keys(s3, store)) == {".probe"}
    assert "Uploads" not in s3.client().list_multipart_uploads(Bucket=store.files.bucket)


def test_a_large_file_goes_in_parts_and_comes_back(s3, store, placement, tmp_path):
    body = bytes(range(256)) * (PART_BYTES // 100)
    made = write(store.artifact("s", "f"), body)
    assert len(body) > 2 * PART_BYTES
    other = open_store(Placement(home=tmp_path / "other", store=placement.store))
    assert other.open(made, "x").read_bytes() == body


def test_one_refused_part_of_a_large_file_is_sent_again_and_no_other(s3, store):
    sent = []

    def rule(_, method, path):
        if method == "PUT" and path.endswith("/x"):
            sent.append(path)
            return "503" if len(sent) == 2 else "pass"
        return "pass"

    with s3.ruled(rule):
        made = write(store.artifact("s", "f"), bytes(2 * PART_BYTES + 1))
    assert len(sent) == 4, "three parts, one of them twice"
    assert made.files[0].bytes == 2 * PART_BYTES + 1


def test_what_is_under_way_has_cleaned_up_before_an_interruption_goes_on(store):
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)
            ended.append("aborted")

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            store.files._sync(work)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert ended == ["aborted"]


def test_a_damaged_copy_is_fetched_again_and_a_damaged_object_is_refused(s3, store):
    made = write(store.artifact("s", "f"), b"hello")
    copy = store.open(made, "x")
    copy.write_bytes(b"hellO")
    assert store.open(made, "x").read_bytes() == b"hello"
    place = f"s/f/{made.attempt}/x"
    s3.client().put_object(Bucket=store.files.bucket, Key=f"store/{place}", Body=b"hellO")
    store.files.forget(f"s/f/{made.attempt}", "x")
    with pytest.raises(IntegrityError, match=rf"E_DIGEST {re.escape(store.files.place(place))}: committed as"):
        store.open(made, "x")


def test_a_listing_of_more_than_one_page_is_whole(store, monkeypatch):
    monkeypatch.setattr("components.adapters.s3_requests.PAGE", 10)
    for number in range(25):
        store.files.create(f"many/{number:05}", b"")
    assert len(store.files.names("many")) == 25


def test_a_bucket_that_is_not_there_and_credentials_that_are_refused_are_one_line(s3, tmp_path, monkeypatch):
    with pytest.raises(EnvironmentFault, match="E_STORE s3://none-such/x/.probe: there is no such bucket"):
        open_store(Placement(home=tmp_path, store="s3://none-such/x"))
    address = s3.bucket()
    with s3.ruled(lambda *_: "403"), pytest.raises(EnvironmentFault, match="E_CREDENTIALS .*refused the credentials"):
        open_store(Placement(home=tmp_path, store=address))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentFault, match=r"E_SERVER_UNREACHABLE .*does not answer .*AWS_ENDPOINT_URL"):
        open_store(Placement(home=tmp_path, store=address))


def test_a_store_that_ignores_the_condition_is_refused(s3, tmp_path, monkeypatch):
    address, app = s3.bucket(), s3.door.app

    def careless(environ, start):
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return app(environ, start)

    monkeypatch.setattr(s3.door, "app", careless)
    with pytest.raises(EnvironmentFault, match="E_STORE MILLRACE_STORE: this object store ignores conditional writes"):
        open_store(Placement(home=tmp_path, store=address))


def fill(cache, group, size):
    return cache.get(group, "x", size, lambda path: path.write_bytes(b"x" * size))


def test_the_cache_keeps_its_limit_and_drops_what_was_used_longest_ago(tmp_path):
    cache = FileCache(tmp_path, 1000)
    with cache.using():
        old, young = fill(cache, "old", 400), fill(cache, "young", 400)
    with cache.using():
        fill(cache, "old", 400)
        fill(cache, "new", 400)
    assert old.exists()
    assert not young.exists()


def test_the_cache_never_drops_what_is_in_use(tmp_path):
    cache, other = FileCache(tmp_path, 1000), FileCache(tmp_path, 1000)
    with cache.using():
        used = fill(cache, "used", 900)
        with other.using():
            fill(other, "more", 900)
        assert used.exists()
    with other.using():
        fill(other, "again", 900)
    assert not used.exists()
    kept = fill(cache, "for the rest of the process", 900)
    other.clear(0)
    assert kept.exists()


def test_a_group_is_held_until_its_last_user_is_done(tmp_path):
    cache, other = FileCache(tmp_path, 10_000), FileCache(tmp_path, 10_000)
    with cache.using():
        used = fill(cache, "g", 100)
        with cache.using():
            fill(cache, "g", 100)
        other.clear(0)
        assert used.exists()
    other.clear(0)
    assert not used.exists()

import os
import time

import pytest

from components.adapters.collect import GRACE_SECONDS, collect
from components.adapters.stores import open_store
from components.contracts.errors import IntegrityError
from tests.adapters.entries import write

DAY = 24 * 3600.0
OLD, NEW, PART, LOOSE = ("0" * 32, "1" * 32, "a" * 32, "b" * 32)


@pytest.fixture
def store(either):
    return open_store(either)


def later(days):
    """The clock, so many days on."""
    return lambda: time.time() + days * DAY


def places(found):
    return sorted((one.what, one.place.split("/")[-2]) for one in found)


@pytest.fixture
def line(store):
    """A named artifact with a part, and one of each that nothing names."""
    write(store.part("s", PART))
    write(store.part("s", LOOSE))
    write(store.artifact("s", OLD))
    write(store.artifact("s", NEW), artifact={"parts": [{"key": PART}]})
    return store


def test_what_is_young_or_named_stays(line):
    assert collect(line, [NEW], really=True) == []
    assert places(collect(line, [NEW], really=True, clock=later(8))) == [("record", OLD), ("record", LOOSE)]
    assert line.artifact("s", NEW).record()
    assert line.part("s", PART).record()


def test_a_dry_run_tells_and_touches_nothing(line):
    told = collect(line, [NEW], really=False, clock=later(8))
    assert places(told) == [("record", OLD), ("record", LOOSE)]
    assert [one.bytes for one in told] == [1, 1]
    assert line.artifact("s", OLD).record()


def test_bytes_go_a_grace_time_after_their_record(line):
    record = line.artifact("s", OLD).record()
    collect(line, [NEW], really=True, clock=later(8))
    assert line.artifact("s", OLD).record() is None
    assert line.open(record, "x").read_bytes() == b"x", "who reads it goes on reading"
    assert collect(line, [NEW], really=True, clock=later(6)) == []
    assert places(collect(line, [NEW], really=True, clock=later(16))) == [("bytes", OLD), ("bytes", LOOSE)]
    assert line.files.size(f"s/{OLD}") == 0
    assert line.files.names("s/parts") == [PART]
    assert collect(line, [NEW], really=True, clock=later(32)) == []


def test_a_run_under_way_gets_back_what_it_names(line):
    """It read a record before the collection and commits a result that names it afterwards."""
    part = line.part("s", LOOSE).record()
    collect(line, [NEW], really=True, clock=later(8))
    write(line.artifact("s", "c" * 32), artifact={"parts": [{"key": LOOSE}]})
    assert line.part("s", LOOSE).standing() == part
    collect(line, [NEW, "c" * 32], really=True, clock=later(16))
    assert line.part("s", LOOSE).record() == part
    assert line.part("s", LOOSE).retired() is None
    assert line.open(part, "x").read_bytes() == b"x"


def test_a_named_result_that_was_retired_comes_back_before_its_bytes_go(line):
    collect(line, [NEW], really=True, clock=later(8))
    assert places(collect(line, [NEW, OLD], really=True, clock=later(16))) == [("bytes", LOOSE)]
    assert line.open(line.artifact("s", OLD).record(), "x").read_bytes() == b"x"


def test_a_result_made_again_after_its_record_went_keeps_its_own_bytes(line):
    first = line.artifact("s", OLD).record()
    collect(line, [NEW], really=True, clock=later(8))
    second = write(line.artifact("s", OLD), b"y")
    assert line.open(first, "x").read_bytes() == b"x", "a new writer does not sweep what somebody may read"
    collect(line, [NEW, OLD], really=True, clock=later(16))
    assert line.artifact("s", OLD).record() == second
    assert line.open(second, "x").read_bytes() == b"y"
    assert line.files.names(f"s/{OLD}") == sorted([second.attempt, "record.json"])


def test_the_first_bytes_of_a_result_made_again_keep_their_grace_time(line):
    first = line.artifact("s", OLD).record()
    collect(line, [NEW], really=True, clock=later(8))
    write(line.artifact("s", OLD), b"y")
    for _ in range(3):
        assert collect(line, [NEW, OLD], really=True, clock=later(6)) == []
    assert line.open(first, "x").read_bytes() == b"x"


def test_a_result_that_was_given_back_and_is_named_by_nobody_gets_a_new_grace_time(line):
    record = line.artifact("s", OLD).record()
    collect(line, [NEW], really=True, clock=later(8))
    assert line.artifact("s", OLD).standing() == record
    assert collect(line, [NEW], really=True, clock=later(6)) == []
    assert places(collect(line, [NEW], really=True, clock=later(8))) == [("bytes", LOOSE), ("record", OLD)]
    assert line.artifact("s", OLD).standing() == record


def test_a_collection_that_is_cut_short_is_finished_by_the_next(line):
    """It had put the record aside and not yet taken it away."""
    record = line.artifact("s", OLD).record()
    line.files.create(f"s/{OLD}/retired.json", record.body())
    collect(line, [NEW], really=True, clock=later(8))
    assert line.artifact("s", OLD).record() is None
    assert line.artifact("s", OLD).standing() == record


def test_a_reader_that_meets_a_collection_is_told_and_leaves_no_record_without_bytes(line, monkeypatch):
    collect(line, [NEW], really=True, clock=later(8))
    entry, create = line.artifact("s", OLD), line.files.create

    def late(name, body, scratch=None):
        monkeypatch.setattr(line.files, "create", create)
        collect(line, [NEW], really=True, clock=later(16))
        return create(name, body, scratch)

    monkeypatch.setattr(line.files, "create", late)
    with pytest.raises(IntegrityError, match="E_DIGEST .*a result that others name is gone"):
        entry.standing()
    assert entry.record() is None
    assert write(entry, b"again").reused is False


def test_stray_files_and_unfinished_uploads_do_not_stop_a_collection(line, s3):
    line.files.create("stray.txt", b"x")
    if line.files.place("").startswith("s3://"):
        client, key = s3.client(), {"Bucket": line.files.bucket, "Key": f"store/s/{OLD}/dead/large"}
        client.create_multipart_upload(**key)
        client.put_object(Bucket=line.files.bucket, Key="store/", Body=b"")
    collect(line, [NEW], really=True, clock=later(8))
    if line.files.place("").startswith("s3://"):
        assert "Uploads" not in client.list_multipart_uploads(Bucket=line.files.bucket)


def test_what_a_dead_writer_left_goes_and_a_living_one_is_left_alone(line):
    entry = line.artifact("s", "d" * 32)
    with entry.attempt() as slow:
        (slow.folder / "x").write_bytes(b"slow")
        if not line.files.place("").startswith("s3://"):
            os.utime(slow.folder / "x", (1, 1))
        collect(line, [NEW], really=True, clock=later(100))
        assert line.open(slow.commit({}), "x").read_bytes() == b"slow"
    line.files.create(f"s/{'e' * 32}/dead/x", b"left")
    assert ("unfinished", "e" * 32) in places(collect(line, [NEW], really=True, clock=later(8)))
    assert line.files.names(f"s/{'e' * 32}") == []
    assert GRACE_SECONDS == 7 * DAY

import os
import tarfile
import time
import zipfile

import psutil
import pytest

from components.adapters import compute, file_digests
from components.adapters.archives import extracted, is_archive, members
from components.adapters.compute import THREADS_UP_TO_BYTES, Compute
from components.adapters.file_digests import FileDigests
from components.adapters.store import digest_file
from components.contracts.errors import DataError, EnvironmentFault


def double(value):
    return 2 * value, os.getpid()


def listening(_):
    return [
        connection.laddr.ip
        for process in (psutil.Process(os.getppid()), *psutil.Process(os.getppid()).children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def fail(value):
    raise ValueError(value)


@pytest.mark.parametrize("here", [Compute(workers=2), Compute(workers=2, synchronous=True)])
def test_small_data_stay_in_this_process(here):
    told = []
    results = here.map(double, [1, 2, 3], 10, lambda done, _: told.append(done))
    assert results == [(2, os.getpid()), (4, os.getpid()), (6, os.getpid())]
    assert sorted(told) == [1, 2, 3]
    assert here.map(double, [], 10) == []
    with pytest.raises(ValueError, match="7"):
        here.map(fail, [7], 10)


def test_large_data_go_to_worker_processes_that_listen_on_loopback_only():
    told = []
    cluster = Compute(workers=2)
    results = cluster.map(double, [1, 2, 3], THREADS_UP_TO_BYTES + 1, lambda done, _: told.append(done))
    assert [value for value, _ in results] == [2, 4, 6]
    assert os.getpid() not in {process for _, process in results}
    assert told == [1, 2, 3]
    (addresses,) = cluster.map(listening, [0], THREADS_UP_TO_BYTES + 1)
    assert addresses
    assert set(addresses) <= {"127.0.0.1", "::1"}


@pytest.mark.bad_input
def test_bad_input_B50_a_scheduler_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(compute, "CONNECT_SECONDS", 0.5)
    with pytest.raises(EnvironmentFault, match="E_SERVER_UNREACHABLE MILLRACE_DASK_ADDRESS: no Dask scheduler answers"):
        Compute(workers=1, address="tcp://127.0.0.1:9").map(double, [1], 1)


def test_a_digest_is_remembered_until_the_file_changes(tmp_path):
    path, memo = tmp_path / "data", tmp_path / "memo" / "digests.json"
    path.write_bytes(b"one")
    os.utime(path, (time.time() - 10, time.time() - 10))
    digests = FileDigests(memo)
    first = digests(path)
    digests.save()
    assert first == digest_file(path)
    assert str(path) in memo.read_text()
    stat = path.stat()
    path.write_bytes(b"two")
    assert FileDigests(memo)(path) == digest_file(path) != first
    path.write_bytes(b"one")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert FileDigests(memo)(path) == first


def test_what_is_found_in_a_file_is_found_again_once_it_changes(tmp_path):
    path, memo = tmp_path / "data", tmp_path / "memo" / "digests.json"
    looked = []

    def look():
        looked.append(path.read_text())
        return {"says": path.read_text()}

    def seen(settings):
        digests = FileDigests(memo)
        found = [digests.kept(path, settings, look) for _ in range(2)]
        digests.save()
        return found

    path.write_text("one")
    assert seen("a") == [{"says": "one"}] * 2
    assert len(looked) == 2, "the file just changed"
    os.utime(path, (time.time() - 10, time.time() - 10))
    assert seen("a") == seen("a")
    assert len(looked) == 3
    seen("b")
    assert len(looked) == 4, "other settings find other things"
    path.write_text("two")
    assert seen("a") == [{"says": "two"}] * 2


def test_a_memo_grows_by_what_is_new_is_written_anew_when_old_and_survives_a_torn_line(tmp_path, monkeypatch):
    memo = tmp_path / "digests.jsonl"
    paths = [tmp_path / f"{number}" for number in range(4)]

    def seen(change):
        digests = FileDigests(memo)
        for path in change:
            path.write_text(path.name + str(time.time_ns()))
            os.utime(path, (time.time() - 10, time.time() - 10))
        found = [digests(path) for path in paths]
        digests.save()
        assert found == [digest_file(path) for path in paths]
        return memo.read_bytes().splitlines()

    assert len(seen(paths)) == 4
    assert len(seen([])) == 4
    grown = seen(paths[:1])
    assert len(grown) == 5
    assert len(seen(paths[:3])) == 8
    assert len(seen(paths[:1])) == 4, "more than half were out of date"
    memo.write_text(memo.read_text()[:-20])
    read = []
    monkeypatch.setattr(file_digests, "digest_file", lambda path: (read.append(path.name), digest_file(path))[1])
    seen([])
    assert read == ["3"], "of which the line was torn"
    read.clear()
    assert len(seen([])) == 5
    assert read == []
    memo.write_bytes(b'\x00\xff{\n[["a"], 1]\n["b", 5]\n[]')
    seen(paths)
    assert sorted(read) == ["0", "1", "2", "3"]
    paths[3].unlink()
    paths.pop()
    seen(paths)
    assert len(seen(paths)) == 3, "what is gone is forgotten then"


def test_what_a_file_was_for_a_moment_is_not_remembered_as_what_it_is(tmp_path):
    path, memo = tmp_path / "data", tmp_path / "digests.jsonl"
    path.write_text("one")
    os.utime(path, (time.time() - 10, time.time() - 10))

    def look():
        other = tmp_path / "other"
        other.write_text("two")
        other.replace(path)
        return path.read_text()

    digests = FileDigests(memo)
    assert digests.kept(path, "a", look) == "two"
    digests.save()
    assert not memo.exists()


def test_a_file_that_just_changed_is_not_remembered(tmp_path):
    path, memo = tmp_path / "data", tmp_path / "digests.json"
    path.write_bytes(b"one")
    digests = FileDigests(memo)
    digests(path)
    digests.save()
    assert not memo.exists()


def test_members_of_folder_tar_and_zip_are_the_same(tmp_path):
    folder = tmp_path / "data" / "set"
    folder.mkdir(parents=True)
    for name in ("a.csv", "b.csv", "c.txt"):
        (folder / name).write_text(name)
    with tarfile.open(tmp_path / "d.tgz", "w:gz") as archive:
        archive.add(tmp_path / "data", "data")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"data/set/{path.name}")
    for place in (tmp_path / "data", tmp_path / "d.tgz", tmp_path / "d.zip"):
        names = members(place, "*.csv")
        assert [name.split("/")[-1] for name in names] == ["a.csv", "b.csv"]
        if place.is_file():
            assert extracted(place, names[1], tmp_path / "scratch").read_bytes() == b"b.csv"
    assert [is_archive(tmp_path / name) for name in ("d.tgz", "d.zip", "data")] == [True, True, False]


def test_a_broken_archive_is_one_line(tmp_path):
    with tarfile.open(tmp_path / "d.tgz", "w:gz") as archive:
        (tmp_path / "x").write_bytes(os.urandom(100_000))
        archive.add(tmp_path / "x", "x.csv")
    cut = tmp_path / "cut.tgz"
    cut.write_bytes((tmp_path / "d.tgz").read_bytes()[:50_000])
    with pytest.raises(DataError, match="E_FILE_TRUNCATED .*cut.tgz: the compressed file ends too early"):
        extracted(cut, "x.csv", tmp_path / "scratch")

import json
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from components.adapters.local_files import LocalFiles
from components.adapters.pointers import Pointer
from components.adapters.store import Store
from components.adapters.stores import open_store
from components.contracts.errors import EnvironmentFault, IntegrityError
from tests.adapters.entries import write


@pytest.fixture
def store(either):
    """Every kind of store in turn."""
    return open_store(either)


@pytest.fixture
def folder_store(tmp_path):
    return Store(LocalFiles(tmp_path / "store"))


def test_the_kernel_imports_nothing_heavy():
    code = (
        "import sys\nimport components.adapters.stores, components.adapters.pointers\n"
        "print(sorted({'numpy', 's3fs', 'fsspec', 'pyarrow', 'pandas', 'torch', 'dask', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_commit_can_be_read_back(store):
    made = write(store.artifact("s", "f"), b"hello", rows=3)
    found = store.artifact("s", "f").record()
    assert found == made
    assert (made.reused, found.reused) == (False, True)
    assert store.open(found, "x").read_bytes() == b"hello"


def test_nothing_is_there_before_the_commit(store):
    with store.artifact("s", "f").attempt() as attempt:
        (attempt.folder / "x").write_bytes(b"x")
        assert store.artifact("s", "f").record() is None
    assert store.artifact("s", "f").record() is None
    assert store.files.names("s/f") == []


def test_the_second_writer_adopts_the_first(store):
    entry = store.artifact("s", "f")
    with entry.attempt() as late:
        (late.folder / "x").write_bytes(b"late")
        early = write(entry, b"early")
        assert late.commit({}) == early
    assert store.files.names("s/f") == sorted([early.attempt, "record.json"])


def test_a_sweep_spares_a_writer_that_lives(store):
    entry = store.artifact("s", "f")
    with entry.attempt() as slow:
        (slow.folder / "x").write_bytes(b"slow")
        with entry.attempt() as other:
            assert slow.folder.is_dir()
            (other.folder / "x").write_bytes(b"other")
        record = slow.commit({})
    assert store.open(record, "x").read_bytes() == b"slow"


class Late(LocalFiles):
    """Stages only after another writer has come and gone in between."""

    def stage(self, folder, name, kept):
        if folder == "s/f" and self.between:
            self.between.pop()()
        return super().stage(folder, name, kept)


def test_a_sweep_spares_what_was_committed_while_it_waited(tmp_path):
    late = Store(Late(tmp_path / "store"))
    late.files.between = [lambda: write(Store(LocalFiles(tmp_path / "store")).artifact("s", "f"), b"early")]
    record = write(late.artifact("s", "f"), b"late")
    assert late.open(record, "x").read_bytes() == b"early"


def test_a_result_that_others_name_and_that_is_gone_is_one_line(store):
    with pytest.raises(IntegrityError, match=r"E_DIGEST .*: a result that others name is gone; .*--rerun s$"):
        store.artifact("s", "f").standing()


def test_equal_content_has_an_equal_digest_and_other_content_another(store):
    digests = [write(store.part("s", key), body).digest for key, body in (("a", b"1"), ("b", b"1"), ("c", b"2"))]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "harm",
    [lambda path: path.write_bytes(b"hellO"), lambda path: path.write_bytes(b"hell"), lambda path: path.unlink()],
)
def test_altered_bytes_are_refused_by_name(folder_store, harm):
    record = write(folder_store.artifact("s", "f"), b"hello")
    path = folder_store.files.root / record.entry / record.attempt / "x"
    harm(path)
    with pytest.raises(IntegrityError, match=rf"E_DIGEST {path}: committed as"):
        folder_store.open(record, "x")


def test_a_record_that_is_not_json_is_refused_by_name(store):
    write(store.artifact("s", "f"))
    store.files.delete("s/f/record.json")
    store.files.create("s/f/record.json", b"{")
    with pytest.raises(IntegrityError, match="E_DIGEST .*record.json: the record is not JSON"):
        store.artifact("s", "f").record()


@pytest.mark.parametrize(
    ("change", "said"), [({"format": 99}, "got 99"), ({"more": 1}, "got 1"), (None, ""), ("list", "got 'list'")]
)
def test_a_record_of_another_release_is_refused_by_name(store, change, said):
    write(store.artifact("s", "f"))
    body = json.loads(store.files.read("s/f/record.json")) | change if isinstance(change, dict) else change and [1]
    store.files.delete("s/f/record.json")
    store.files.create("s/f/record.json", json.dumps({} if change is None else body).encode())
    with pytest.raises(IntegrityError, match=rf"E_DIGEST .*record.json: the record is not one that .*{said}.*format 1"):
        store.artifact("s", "f").record()


def race(placement):
    store = open_store(placement)
    return write(store.artifact("s", "f"), str(os.getpid()).encode()).attempt


def move(argument):
    placement, number = argument
    return Pointer(open_store(placement), "p").set({"by": number}).epoch


def test_of_many_writers_one_wins_and_all_agree(placement):
    """On a bucket: tests/faults/test_races.py."""
    with ProcessPoolExecutor(8, get_context("fork")) as pool:
        (winner,) = set(pool.map(race, [placement] * 40))
    store = open_store(placement)
    record = store.artifact("s", "f").record()
    assert record.attempt == winner
    assert store.open(record, "x").read_bytes().isdigit()


def test_no_move_of_a_pointer_is_lost(placement):
    with ProcessPoolExecutor(8, get_context("fork")) as pool:
        epochs = list(pool.map(move, [(placement, number) for number in range(40)]))
    history = Pointer(open_store(placement), "p").history()
    assert sorted(epochs) == [one.epoch for one in history] == list(range(1, 41))
    assert {one.value["by"] for one in history} == set(range(40))


def test_a_pointer_moves_only_from_the_epoch_that_was_seen(store):
    pointer = Pointer(store, "p")
    assert pointer.read() is None
    assert pointer.move({"v": 1}, after=0)
    assert not pointer.move({"v": 2}, after=0)
    assert pointer.set({"v": 1}).epoch == 1
    assert pointer.set({"v": 3}).epoch == 2
    assert pointer.read().value == {"v": 3}


@pytest.mark.bad_input
def test_bad_input_B49_a_store_without_write_permission_is_one_line(tmp_path, as_nobody):
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o500)
    said = as_nobody(lambda: write(Store(LocalFiles(folder / "store")).artifact("s", "f")))
    assert said.startswith(f"E_PERMISSION {folder}"), said
    assert "grant this user access" in said


@pytest.mark.bad_input
def test_bad_input_B49_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """A disk without space, a real one of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        store = Store(LocalFiles(disk / "store"))
        kept = write(store.artifact("s", "old"), b"o" * 1000)
        with pytest.raises(EnvironmentFault, match="E_DISK_FULL .*no space is left"):
            write(store.artifact("s", "new"), b"n" * 2_000_000)
        assert store.open(kept, "x").read_bytes() == b"o" * 1000
        assert list((disk / "store" / "s" / "new").iterdir()) == []
        assert write(store.artifact("s", "new"), b"small").reused is False
    finally:
        subprocess.run(["umount", disk], check=True)

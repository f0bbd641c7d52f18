"""Digests of a whole tree: those of files that stayed as they are come from the memo, all others from the files."""

import os
import shutil
import time

import numpy as np
import pyarrow as pa
import pytest

from components.adapters import tree_digests
from components.adapters.file_digests import FileDigests
from components.adapters.store import digest_file
from components.adapters.tree_digests import TreeDigests, marks_of


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder of four files, a look at it that says the digests, and the names of the files that it read."""
    read = []
    monkeypatch.setattr(tree_digests, "digest_file", lambda path: (read.append(path.name), digest_file(path))[1])
    root = tmp_path / "tree"
    root.mkdir()
    for name in "abcd":
        write(root / name, name)

    def look(names="abcd", what=""):
        read.clear()
        marks = marks_of([(root / name).stat() for name in names])
        found = TreeDigests(tmp_path / "trees").look(str(root), what, pa.array(list(names)), marks).to_pylist()
        assert found == [digest_file(root / name) for name in names]
        return "".join(read)

    return root, look


def write(path, text, ago=10.0):
    path.write_text(text)
    os.utime(path, (time.time() - ago, time.time() - ago))


def test_only_what_is_new_or_changed_is_read(tree):
    root, look = tree
    assert look() == "abcd"
    assert look() == ""
    write(root / "b", "other")
    assert look() == "b"
    assert look() == ""
    write(root / "e", "e")
    assert look("eabcd") == "e", "a name before the others"
    assert look("dcbae") == "", "in another order"
    assert look("ce") == ""
    assert look("abce") == "ab", "what was gone is forgotten"


@pytest.mark.parametrize("mark", ["size", "time", "inode"])
def test_a_file_is_recognised_by_its_size_its_time_of_change_and_its_inode(tree, mark):
    root, look = tree
    look()
    stat = (root / "c").stat()
    if mark == "inode":
        shutil.copy(root / "c", root / "copy")
        (root / "copy").write_text("C")
        (root / "copy").replace(root / "c")
    else:
        (root / "c").write_text("longer" if mark == "size" else "C")
    kept = stat.st_mtime_ns + (1000 if mark == "time" else 0)
    os.utime(root / "c", ns=(stat.st_atime_ns, kept))
    assert look() == "c"


def test_a_file_that_just_changed_is_read_again(tree):
    root, look = tree
    write(root / "a", "new", ago=0)
    assert look() == "abcd"
    assert look() == "a"


def test_a_file_that_changes_while_it_is_read_is_read_again(tree, monkeypatch):
    _, look = tree
    seen = tree_digests.digest_file

    def changing(path):
        found = seen(path)
        if path.name == "d":
            os.utime(path, (1, 1))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(tree_digests, "digest_file", changing)
        look()
    assert look() == "d"


def test_two_looks_at_a_folder_do_not_spoil_each_other(tree):
    _, look = tree
    assert (look("ab", "1"), look("cd", "2")) == ("ab", "cd")
    assert (look("ab", "1"), look("cd", "2")) == ("", "")


def test_a_memo_that_is_not_as_it_was_written_is_as_good_as_none(tree, tmp_path):
    _, look = tree
    look()
    (memo,) = (tmp_path / "trees").iterdir()
    body = memo.read_bytes()
    harmed = [body[:size] for size in (0, 7, len(body) // 2, len(body) - 1)]
    harmed.extend(body[:at] + bytes([body[at] ^ 1 << at % 8]) + body[at + 1 :] for at in range(0, len(body), 37))
    for one in harmed:
        memo.write_bytes(one)
        assert look() == "abcd"


def test_a_tree_may_lie_where_names_are_no_text(tmp_path):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    root.mkdir()
    write(root / "a", "a")
    for _ in range(2):
        found = TreeDigests(tmp_path / "trees").look(str(root), "", pa.array(["a"]), marks_of([(root / "a").stat()]))
        assert found.to_pylist() == [digest_file(root / "a")]
    TreeDigests(tmp_path / "trees").forget(str(root / "a"))


def test_what_a_killed_writer_left_goes(tree, tmp_path):
    _, look = tree
    (tmp_path / "trees").mkdir()
    write(tmp_path / "trees" / "x.tree.old", "", ago=7200)
    write(tmp_path / "trees" / "x.tree.new", "", ago=1)
    look()
    assert sorted(path.suffix for path in (tmp_path / "trees").iterdir()) == [".new", ".tree"]


def test_a_file_can_be_forgotten_and_a_tree_that_is_gone_is(tree, tmp_path):
    root, look = tree
    look()
    FileDigests(tmp_path / "digests.jsonl").forget(str(root / "b"))
    assert look() == "b"
    (memo,) = (tmp_path / "trees").iterdir()
    shutil.rmtree(root)
    other = tmp_path / "other"
    other.mkdir()
    write(other / "x", "x")
    TreeDigests(tmp_path / "trees").look(str(other), "", pa.array(["x"]), marks_of([(other / "x").stat()]))
    assert not memo.exists()
    assert len(list((tmp_path / "trees").iterdir())) == 1


def test_marks_hold_every_inode_and_times_before_1970():
    stat = os.stat_result((0o100644, 2**64 - 1, 0, 1, 0, 0, 5, 0, -7, 0), {"st_mtime_ns": -7})
    assert marks_of([stat]).tolist() == [[5, -7, -1]]
    assert marks_of([]).dtype == np.int64

"""What the fault tests do to a store, over and over: one part, one artifact of two files, one pointer move.

Run as a program it leaves a mark in the system call log before it begins: a close of a descriptor that cannot be.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from components.adapters.pointers import Pointer
from components.adapters.stores import open_store as open_at
from components.contracts.errors import MillraceError
from components.contracts.placement import Placement

MARK = 987654
PART, OLD, NEW = "a" * 32, "0" * 32, "1" * 32
DATA = {"rows.bin": b"r" * 3000, "deep/stats.json": b'{"mean": 1}'}


def open_store(root):
    """The store at a folder, or at a bucket's address with this machine's copies in `HOME`."""
    return open_at(Placement(home=Path(os.environ.get("HOME", "/tmp")), store=str(root)))


def write_artifact(store, fingerprint):
    entry = store.artifact("step", fingerprint)
    if entry.record() is None:
        with entry.attempt() as attempt:
            for name, body in DATA.items():
                path = attempt.folder / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(body + fingerprint.encode())
            attempt.commit({"fingerprint": fingerprint})


def before(root):
    """The state that every fault meets: an older artifact, and a pointer to it."""
    store = open_store(root)
    write_artifact(store, OLD)
    Pointer(store, "champion/m").set({"artifact": OLD})


def scenario(root):
    store = open_store(root)
    part = store.part("step", PART)
    if part.record() is None:
        with part.attempt() as attempt:
            (attempt.folder / "part.bin").write_bytes(b"p" * 500)
            attempt.commit({"rows": 7})
    write_artifact(store, NEW)
    Pointer(store, "champion/m").set({"artifact": NEW})


def check(root):
    """Old or new, never half: raises AssertionError otherwise. Returns the name of the part's attempt, if any."""
    store = open_store(root)
    for fingerprint in (OLD, NEW):
        record = store.artifact("step", fingerprint).record()
        assert record is not None or fingerprint == NEW, "the old artifact is gone"
        if record is not None:
            assert {file.name for file in record.files} == set(DATA)
            for name, body in DATA.items():
                assert store.open(record, name).read_bytes() == body + fingerprint.encode()
    pointed = Pointer(store, "champion/m").read()
    assert pointed is not None
    assert pointed.value["artifact"] in {OLD, NEW}
    assert store.artifact("step", pointed.value["artifact"]).record() is not None, "the pointer names nothing"
    part = store.part("step", PART).record()
    if part is not None:
        assert store.open(part, "part.bin").read_bytes() == b"p" * 500
        assert part.meta == {"rows": 7}
    return part.attempt if part else None


def check_converged(root, part_before):
    """After a run without a fault: everything is there, a committed part was not made again, nothing is left over."""
    part_after = check(root)
    assert part_after is not None
    assert part_before in {None, part_after}, "a committed part was computed again"
    store = open_store(root)
    assert [one.value["artifact"] for one in Pointer(store, "champion/m").history()] == [OLD, NEW]
    if store.files.place("") != f"{root}/":
        assert "s3://" not in str(root)
        for folder in (f"step/parts/{PART}", f"step/{OLD}", f"step/{NEW}"):
            kept = [path for path in (Path(root) / folder).iterdir() if path.is_dir()]
            assert len(kept) == 1, f"{folder} holds what a dead writer left"
        assert not list((Path(root) / ".scratch").iterdir()) or part_before == part_after


if __name__ == "__main__":
    with suppress(OSError):
        os.close(MARK)
    try:
        scenario(sys.argv[1])
    except MillraceError as error:
        print(error.line())
        sys.exit(error.exit_code)

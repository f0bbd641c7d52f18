"""Content digests of source files, remembered by size and time of change, or elsewhere by what their server says.

A file that changed within the last two seconds is not remembered: it could change again within the same tick of the
file system's clock.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.adapters.blobs import digest_of, listed
from components.adapters.store import digest_file
from components.adapters.tree_digests import Marks, TreeDigests

SETTLED_SECONDS = 2
MOST_SHARE = 2
"""Lines of the memo to each name in it."""


class FileDigests:
    """Call it with a path; `save` keeps what it learned."""

    def __init__(self, memo: Path) -> None:
        self._memo = memo
        self._trees = TreeDigests(memo.parent / "trees")
        self._known: dict[str, list[Any]] = {}
        self._learned: dict[str, list[Any]] = {}
        self._lines = 0
        self._torn = False
        for name, *found in self._read():
            self._known[name] = found
            self._lines += 1
        self._found: dict[str, Any] = {}

    def __call__(self, path: Path | str) -> str:
        """The digest of the file at `path`, which is text where it is an address of another machine."""
        if isinstance(path, str):
            return self._elsewhere(path)
        return str(self._seen(str(path), path.stat(), lambda: digest_file(path), path))

    def of_tree(self, root: str, what: str, names: pa.Array, marks: Marks) -> pa.Array:
        """The digests of the files `names` below `root`, of which `marks` were just asked; `what` names this look."""
        return self._trees.look(root, what, names, marks)

    def kept(self, path: Path, what: str, look: Callable[[], Any]) -> Any:
        """What `look` finds in the file at `path`, plain JSON, remembered as a digest is."""
        stat = path.stat()
        return self._seen(f"{path}\n{what}", stat, look, path)

    def _seen(self, name: str, stat: os.stat_result, look: Callable[[], Any], path: Path | str) -> Any:
        known = self._known.get(name)
        if known is not None and known[1] == stat.st_mtime_ns and known[0] == stat.st_size and known[2] == stat.st_ino:
            return known[3]
        found = look()
        now = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        if time.time() - stat.st_mtime > SETTLED_SECONDS and _state(path) == now:
            self._learned[name] = self._known[name] = [*now, found]
        return found

    def forget(self, path: str) -> None:
        """The file at `path` is not what the memo says, although it looks the same."""
        self._trees.forget(path)
        gone = [name for name in self._known if name.partition("\n")[0] == path]
        for name in gone:
            del self._known[name]
            self._learned.pop(name, None)
        if gone:
            self._write()

    def once(self, what: str, look: Callable[[], Any]) -> Any:
        """What `look` finds, looked for once by this object: a run sees one state of a folder, not two."""
        if what not in self._found:
            self._found[what] = look()
        return self._found[what]

    def _elsewhere(self, url: str) -> str:
        blob = listed(url, "source.uri")[0]
        known = self._known.get(url)
        marked = not blob.stamp.endswith("-")
        if known is not None and known[0] == blob.stamp and marked:
            return str(known[1])
        digest = digest_of(blob, "source.uri")
        if marked:
            self._learned[url] = self._known[url] = [blob.stamp, digest]
        return digest

    def save(self) -> None:
        """Add what was learned to the memo; it is written anew when most of its lines are out of date."""
        if not self._learned:
            return
        self._memo.parent.mkdir(parents=True, exist_ok=True)
        self._lines += len(self._learned)
        if self._lines <= MOST_SHARE * len(self._known):
            with self._memo.open("ab", buffering=0) as memo:
                memo.write(b"\n" * self._torn + _lines(self._learned))
            self._torn = False
        else:
            self._known = {name: found for name, found in self._known.items() if _lives(name)}
            self._write()
        self._learned = {}

    def _write(self) -> None:
        scratch = self._memo.with_suffix(f".{os.getpid()}")
        scratch.write_bytes(_lines(self._known))
        scratch.replace(self._memo)
        self._lines, self._torn = len(self._known), False

    def _read(self) -> list[list[Any]]:
        """The lines of the memo. One that was cut off when a writer died is passed over."""
        try:
            body = self._memo.read_text(errors="replace")
        except FileNotFoundError:
            return []
        self._torn = not body.endswith("\n")
        try:
            lines = json.loads(f"[{body.rstrip().replace(chr(10), ',')}]")
        except ValueError:
            lines = [_parsed(line) for line in body.splitlines()]
        return [line for line in lines if isinstance(line, list) and len(line) in {3, 5} and isinstance(line[0], str)]


def _state(path: Path | str) -> list[int]:
    try:
        stat = Path(path).stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _lives(name: str) -> bool:
    """Whether what is remembered by that name is of a file that is still there, or elsewhere."""
    return "://" in name or os.path.lexists(name.partition("\n")[0])


def _lines(known: dict[str, list[Any]]) -> bytes:
    return "".join([json.dumps([name, *found]) + "\n" for name, found in known.items()]).encode()


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None

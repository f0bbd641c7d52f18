"""Copies on this machine of what lies in an object store: fetched once, dropped when the limit asks for it.

A copy belongs to a group (one attempt) and groups go as a whole, the least recently used first. A process that uses a
group holds a lock on it, which the kernel frees when the process ends; a group that is held is never dropped. Bytes
are not trusted here: the store checks their digests when it opens them.
"""

import fcntl
import os
import shutil
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from blake3 import blake3

from components.adapters.local_files import faults

LOCK = "hhqqi4x"
"""struct flock with 64-bit offsets; the last field, a process id, is 0 for a lock of an open file."""
SCOPE: ContextVar[list[str] | None] = ContextVar("millrace_cache_scope", default=None)


class FileCache:
    """Groups of files under `root`, of at most `limit_bytes` beside what is in use."""

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.root, self.limit_bytes = root, limit_bytes
        with faults(root):
            (root / "groups").mkdir(parents=True, exist_ok=True)
            self._locks = os.open(root / "locks", os.O_RDWR | os.O_CREAT, 0o600)
        self._held: Counter[str] = Counter()
        self._kept: set[str] = set()
        self._mutex = threading.Lock()
        self._unseen = limit_bytes

    def get(self, group: str, name: str, size: int, fetch: Callable[[Path], None]) -> Path:
        """The copy of `name`; `fetch(path)` writes it where it is missing or not `size` bytes long."""
        key = self._hold(group)
        folder = self.root / "groups" / key
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            scratch = folder / f".{os.urandom(6).hex()}"
            with faults(path, size):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    fetch(scratch)
                    scratch.replace(path)
                finally:
                    scratch.unlink(missing_ok=True)
            self._grown(size)
        with suppress(FileNotFoundError):
            os.utime(folder)
        return path

    def adopt(self, group: str, made: Path) -> None:
        """Take the folder `made`, on the same disk, as the copy of `group`."""
        key = self._hold(group)
        # Only a copy: where it cannot be taken over, it is fetched when somebody asks for it.
        with suppress(OSError):
            made.replace(self.root / "groups" / key)
            self._grown(_bytes(self.root / "groups" / key))

    def drop(self, group: str, name: str) -> None:
        """Forget one copy."""
        (self.root / "groups" / _key(group) / name).unlink(missing_ok=True)

    @contextmanager
    def using(self) -> Iterator[None]:
        """Groups that are asked for inside the block are held until its end; outside of one, until the process's."""
        keys: list[str] = []
        token = SCOPE.set(keys)
        try:
            yield
        finally:
            SCOPE.reset(token)
            for key in keys:
                self._free(key)

    def clear(self, limit_bytes: int) -> None:
        """Drop groups that nobody uses, the oldest first, until at most `limit_bytes` are left."""
        groups = []
        for folder in (self.root / "groups").iterdir():
            with suppress(FileNotFoundError):
                groups.append((folder.stat().st_mtime_ns, _bytes(folder), folder))
        left = sum(size for _, size, _ in groups)
        descriptor = os.open(self.root / "locks", os.O_RDWR)
        try:
            for _, size, folder in sorted(groups):
                if left <= limit_bytes:
                    break
                if _lock(descriptor, fcntl.F_WRLCK, folder.name, wait=False):
                    shutil.rmtree(folder, ignore_errors=True)
                    left -= size
                    _lock(descriptor, fcntl.F_UNLCK, folder.name, wait=False)
        finally:
            os.close(descriptor)

    def _grown(self, size: int) -> None:
        """Look at the disk the first time and whenever a tenth of the limit has come since, and make that room."""
        self._unseen += size
        if self._unseen * 10 >= self.limit_bytes:
            self._unseen = 0
            self.clear(self.limit_bytes - self.limit_bytes // 10)

    def _hold(self, group: str) -> str:
        key, scope = _key(group), SCOPE.get()
        with self._mutex:
            if not self._held[key]:
                _lock(self._locks, fcntl.F_RDLCK, key, wait=True)
            if scope is not None or key not in self._kept:
                self._held[key] += 1
            if scope is None:
                self._kept.add(key)
            else:
                scope.append(key)
        return key

    def _free(self, key: str) -> None:
        with self._mutex:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]
                _lock(self._locks, fcntl.F_UNLCK, key, wait=False)


def _key(group: str) -> str:
    return blake3(group.encode()).hexdigest(length=16)


def _lock(descriptor: int, kind: int, key: str, *, wait: bool) -> bool:
    """Lock, share or unlock one byte whose place stands for `key`. Such locks belong to the open file."""
    start = int(key[:15], 16)
    what = struct.pack(LOCK, kind, os.SEEK_SET, start, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, what)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total

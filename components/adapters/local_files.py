"""A local folder as the commit kernel needs it: durable, exclusive, and swept of what dead writers left.

Implements adapters/files.py. A writer's folder is held by `flock`, which the kernel frees when the writer dies, so a
sweep never removes the work of a live one.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from components.adapters.files import Held
from components.contracts.errors import EnvironmentFault

SCRATCH = ".scratch"

FAULTS = {
    errno.ENOSPC: ("E_DISK_FULL", "no space is left", "free space there or set MILLRACE_HOME to another disk"),
    errno.EDQUOT: ("E_DISK_FULL", "the quota is used up", "free space there or set MILLRACE_HOME to another disk"),
    errno.EFBIG: ("E_DISK_FULL", "the file size limit is reached", "raise the limit (ulimit -f)"),
    errno.EACCES: ("E_PERMISSION", "access is denied", "grant this user access to it"),
    errno.EPERM: ("E_PERMISSION", "access is denied", "grant this user access to it"),
    errno.EROFS: ("E_PERMISSION", "the file system is read-only", "choose a folder that can be written"),
    errno.EIO: ("E_IO", "the device reported an error", "check the disk, then run the same command again"),
}


def as_fault(error: OSError, place: Path | str, needed: int | None = None) -> EnvironmentFault | None:
    """The user's line for `error`, or None where it is none of the machine's faults."""
    if error.errno not in FAULTS or isinstance(error, EnvironmentFault):
        return None
    code, what, action = FAULTS[error.errno]
    need = f", {needed} bytes are needed" if needed is not None else ""
    return EnvironmentFault(code, f"{what}{need} ({os.strerror(error.errno)})", place=str(place), action=action)


@contextmanager
def faults(place: Path | str, needed: int | None = None) -> Iterator[None]:
    """Turn a full disk, a denied access and an I/O error into one line that names `place`."""
    try:
        yield
    except OSError as error:
        fault = as_fault(error, error.filename or place, needed)
        if fault is None:
            raise
        raise fault from error


class HeldFolder:
    """A folder of one writer, locked while the writer lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Let go; the folder stays."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Delete the folder and let go. What cannot be deleted now, a later sweep deletes."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()


class LocalFiles:
    """Files below one folder; paths are relative, with `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, name: str) -> str:
        """The path of `name`."""
        return str(self.root / name)

    def fetch(self, folder: str, name: str, size: int) -> Path:
        """The path of the file itself."""
        return self.root / folder / name

    def forget(self, folder: str, name: str) -> bool:
        """False: there is only this copy."""
        return False

    def using(self) -> AbstractContextManager[None]:
        """Nothing is copied, so nothing is dropped."""
        return nullcontext()

    def read(self, name: str) -> bytes:
        """The bytes of `name`."""
        with faults(self.root / name):
            return (self.root / name).read_bytes()

    def names(self, folder: str) -> list[str]:
        """The children of `folder`, sorted."""
        try:
            return sorted(child.name for child in (self.root / folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def create(self, name: str, body: bytes, scratch: Path | None = None) -> bool:
        """Write `name` unless it exists; without `scratch` a folder of this call's own holds the unfinished file."""
        if scratch is None:
            held = self.stage(SCRATCH, os.urandom(8).hex(), kept=lambda: ())
            try:
                return self.create(name, body, held.path)
            finally:
                held.remove()
        target = self.root / name
        unfinished = scratch / f".{target.name}"
        with faults(target, len(body)):
            try:
                with Path(unfinished).open("xb") as file:
                    file.write(body)
                    file.flush()
                    os.fsync(file.fileno())
                return self._linked(unfinished, target)
            finally:
                with suppress(OSError):
                    unfinished.unlink(missing_ok=True)

    def _linked(self, unfinished: Path, target: Path) -> bool:
        while True:
            self._made(target.parent)
            try:
                os.link(unfinished, target)
                sync_folder(target.parent)
            except FileExistsError:
                return False
            except FileNotFoundError:
                # Somebody took the folder away in between, since nothing was in it.
                if not unfinished.exists():
                    raise
                continue
            return True

    def stage(self, folder: str, name: str, kept: Callable[[], tuple[str, ...]]) -> Held:
        """Make `folder/name`, held by the caller."""
        parent = self._made(self.root / folder)
        with faults(parent):
            gate = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(gate, fcntl.LOCK_EX)
                _sweep(parent, kept)
                Path(parent / name).mkdir()
                return HeldFolder(parent / name)
            finally:
                os.close(gate)

    def publish(self, held: Held) -> None:
        """Make every byte and name inside the held folder durable, and the folder's own name."""
        for folder, _, files in os.walk(held.path, topdown=False):
            for file in files:
                path = Path(folder, file)
                with faults(path, path.stat().st_size):
                    descriptor = os.open(path, os.O_RDONLY)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
            sync_folder(Path(folder))
        sync_folder(held.path.parent)

    def changed(self, name: str) -> float:
        """The newest time of change at or below `name`."""
        return max((stat.st_mtime for stat in self._stats(name)), default=0.0)

    def size(self, name: str) -> int:
        """Bytes at or below `name`."""
        return sum(stat.st_size for stat in self._stats(name))

    def _stats(self, name: str) -> Iterator[os.stat_result]:
        top = self.root / name
        for path in (top,) if not top.is_dir() else top.rglob("*"):
            with suppress(FileNotFoundError):
                if not path.is_dir():
                    yield path.stat()

    def delete(self, name: str) -> None:
        """Remove one file, durably."""
        path = self.root / name
        with faults(path), suppress(FileNotFoundError):
            path.unlink()
            sync_folder(path.parent)

    def clear(self, folder: str) -> bool:
        """Remove a folder that nobody holds, and its parent if that is empty then."""
        path = self.root / folder
        try:
            held = HeldFolder(path)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        held.remove()
        with suppress(OSError):
            path.parent.rmdir()
        return True

    def end_uploads(self, folder: str, before: float) -> None:
        """Nothing is uploaded here."""

    def _made(self, folder: Path) -> Path:
        missing = []
        probe = folder
        with faults(folder):
            while not probe.is_dir():
                missing.append(probe)
                probe = probe.parent
            for path in reversed(missing):
                path.mkdir(exist_ok=True)
                sync_folder(path.parent)
        return folder


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    with faults(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sweep(folder: Path, kept: Callable[[], tuple[str, ...]]) -> None:
    for child in folder.iterdir():
        if not child.is_dir():
            continue
        with suppress(BlockingIOError, FileNotFoundError):
            held = HeldFolder(child)
            # Asked only now: a writer lets go after its record stands, so whoever holds its folder sees the record.
            if child.name in kept():
                held.release()
            else:
                held.remove()

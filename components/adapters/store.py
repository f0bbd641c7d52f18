"""The commit kernel: a result is in the store when, and only when, its record is.

Every writer fills a folder of its own, the attempt. One exclusive creation of the record then names the attempt that
counts; whoever comes second adopts the winner. An artifact (`<step>/<fingerprint>/record.json`) and a part of one
(`<step>/parts/<key>/part.json`) are the same thing at two levels. Imports nothing heavy. Pointers and leases:
adapters/pointers.py and leases.py.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blake3 import blake3

from components.adapters.files import Files, Held
from components.adapters.local_files import as_fault
from components.contracts.errors import EnvironmentFault, IntegrityError

FORMAT = 1
RETIRED = "retired.json"
"""The record that garbage collection took away, kept until its bytes go: whoever still names it gets it back."""


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One committed file; `name` is relative to its attempt."""

    name: str
    bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one commit says. `meta` is the committer's own data; `reused` is True when it was found, not made."""

    entry: str
    attempt: str
    files: tuple[StoredFile, ...]
    meta: Mapping[str, Any]
    format: int = FORMAT
    reused: bool = field(default=True, compare=False)

    @property
    def digest(self) -> str:
        """The digest of the files' content, the same for every attempt that wrote the same bytes."""
        body = json.dumps([[file.name, file.digest] for file in self.files]).encode()
        return blake3(body).hexdigest(length=16)

    @property
    def content(self) -> str:
        """The digest of the rows, where the committer gave one: rows may be the same in other files."""
        return str(self.meta.get("content") or self.digest)

    def body(self) -> bytes:
        """The bytes of the record file. The attempt's random name makes every body unique."""
        data = {name: getattr(self, name) for name in KEYS} | {"files": [asdict(file) for file in self.files]}
        return json.dumps(data, sort_keys=True).encode()


KEYS = {"entry", "attempt", "files", "meta", "format"}
SMALL_BYTES = 2**17
CHECKED: dict[str, tuple[int, int]] = {}
"""The size and time of change of every file whose bytes this process has checked or written, by its whole name."""


def free() -> None:
    """The fence of a store in which nobody's lease counts."""


class Store:
    """Artifacts, parts and their checked files in one place."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.fence: Callable[[], None] = free
        """Asked before anything becomes visible; raises where the run that writes was declared dead."""

    def still_ours(self) -> None:
        """Raise where the run was declared dead; a store that does not answer says nothing of that."""
        with suppress(EnvironmentFault):
            self.fence()

    def artifact(self, step: str, fingerprint: str) -> "Entry":
        """The place of one step's result."""
        return Entry(self, f"{step}/{fingerprint}", "record.json")

    def part(self, step: str, key: str) -> "Entry":
        """The place of one partition's output."""
        return Entry(self, f"{step}/parts/{key}", "part.json")

    def open(self, record: Record, name: str) -> Path:
        """The local path of one committed file, after its bytes were checked once in this process.

        Raises:
            IntegrityError: E_DIGEST, the bytes are not those that were committed, or are gone.
        """
        wanted = next(file for file in record.files if file.name == name)
        folder = f"{record.entry}/{record.attempt}"
        path, found = self._fetched(folder, wanted)
        if found != wanted.digest and self.files.forget(folder, name):
            path, found = self._fetched(folder, wanted)
        if found != wanted.digest:
            raise IntegrityError(
                "E_DIGEST",
                f"committed as {wanted.digest} with {wanted.bytes} bytes, found {found}",
                place=self.files.place(f"{folder}/{name}"),
                action=_anew(record.entry),
            )
        return path

    def _fetched(self, folder: str, wanted: StoredFile) -> tuple[Path, str]:
        """The file on this machine, and the digest of its bytes or what is there instead."""
        try:
            path = self.files.fetch(folder, wanted.name, wanted.bytes)
            stat = path.stat()
        except FileNotFoundError:
            return Path(), "no file"
        seen = (stat.st_size, stat.st_mtime_ns)
        if CHECKED.get(str(path)) == seen:
            return path, wanted.digest
        if stat.st_size != wanted.bytes:
            return path, f"{stat.st_size} bytes"
        found = digest_file(path)
        if found == wanted.digest:
            CHECKED[str(path)] = seen
        return path, found

    def folder(self, record: Record) -> Path:
        """The local folder of a commit, after every file in it was checked as by `open`."""
        first, *rest = record.files
        path = self.open(record, first.name)
        for file in rest:
            self.open(record, file.name)
        return path.parents[first.name.count("/")]


class Entry:
    """One place that can be committed once."""

    def __init__(self, store: Store, folder: str, marker: str) -> None:
        self.store, self.folder, self.marker = store, folder, f"{folder}/{marker}"

    def record(self) -> Record | None:
        """The commit, or None where there is none yet."""
        return self._read(self.marker)

    def retired(self) -> Record | None:
        """The commit that garbage collection took away and whose bytes may still be there."""
        return self._read(f"{self.folder}/{RETIRED}")

    def attempts(self) -> tuple[str, ...]:
        """The attempts whose bytes somebody may be reading."""
        return tuple(one.attempt for one in (self.record(), self.retired()) if one is not None)

    def standing(self) -> Record:
        """The commit, which has to be there: something else names it.

        Raises:
            IntegrityError: E_DIGEST, it is gone.
        """
        record = self.record()
        retired = self.retired() if record is None else None
        if retired is not None:
            self.store.files.create(self.marker, retired.body())
            record = self.record()
            if record is not None and record.attempt == retired.attempt and self.retired() is None:
                # Garbage collection was faster: the bytes may be gone already.
                self.store.files.delete(self.marker)
                record = None
        if record is None:
            place = self.store.files.place(self.marker)
            raise IntegrityError(
                "E_DIGEST", "a result that others name is gone", place=place, action=_anew(self.folder)
            )
        return record

    def _read(self, name: str) -> Record | None:
        try:
            data = json.loads(self.store.files.read(name))
        except FileNotFoundError:
            return None
        except ValueError as error:
            place, action = self.store.files.place(name), _anew(self.folder)
            raise IntegrityError("E_DIGEST", "the record is not JSON", place=place, action=action) from error
        if not isinstance(data, dict) or data.get("format") != FORMAT or data.keys() != KEYS:
            said = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise IntegrityError(
                "E_DIGEST",
                "the record is not one that this release writes",
                place=self.store.files.place(name),
                value=said,
                allowed=f"format {FORMAT}",
                action=f"use the release that wrote it, or {_anew(self.folder)}",
            )
        data["files"] = tuple(StoredFile(**file) for file in data["files"])
        return Record(**data)

    def attempt(self) -> "Attempt":
        """A new writer's folder; use it as a context."""
        return Attempt(self)


class Attempt:
    """One writer's unfinished result. Leaving the context without `commit` removes it."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._files = entry.store.files
        self.name = os.urandom(8).hex()
        self._held: Held | None = None
        self._offered = False

    def __enter__(self) -> Self:
        self._held = self._files.stage(self._entry.folder, self.name, self._entry.attempts)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._held is None:
            return
        if self._offered:
            self._held.release()
        else:
            self._held.remove()
        self._held = None
        if isinstance(error, OSError):
            fault = as_fault(error, error.filename or self._files.place(self._entry.folder))
            if fault is not None:
                raise fault from error

    @property
    def folder(self) -> Path:
        """Where to write, until `commit`."""
        if self._held is None:
            raise RuntimeError("an attempt is a context manager")
        return self._held.path

    def commit(self, meta: Mapping[str, Any]) -> Record:
        """Make the files durable and create the record; the record that stands is returned, ours or the winner's.

        Raises:
            ConflictError: E_LEASE, the run that this is for was declared dead.
        """
        if self._held is None:
            raise RuntimeError("an attempt is a context manager")
        self._files.publish(self._held)
        record = Record(
            entry=self._entry.folder,
            attempt=self.name,
            files=tuple(_describe(self.folder)),
            meta=dict(meta),
            reused=False,
        )
        self._entry.store.fence()
        # From here on the outcome of a failure is unknown: the folder may be the one that counts.
        self._offered = True
        if self._files.create(self._entry.marker, record.body(), scratch=self.folder):
            return record
        standing = self._entry.record()
        if standing is None:
            raise RuntimeError(f"{self._entry.marker} exists and cannot be read")
        self._offered = standing.attempt == self.name
        return standing


def _anew(folder: str) -> str:
    return f"run the same command with --rerun {folder.partition('/')[0]}"


def _describe(folder: Path) -> Iterator[StoredFile]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            stat = path.stat()
            yield StoredFile(name=name, bytes=stat.st_size, digest=digest_file(path))
            CHECKED[str(path)] = (stat.st_size, stat.st_mtime_ns)


def digest_file(path: Path) -> str:
    """32 hexadecimal digits of BLAKE3 over a file's bytes."""
    with path.open("rb", buffering=0) as file:
        # One call reads a small file, and says at its end that there is no more.
        head = file.read(SMALL_BYTES)
        if len(head) < SMALL_BYTES:
            return digest_bytes(head)
    hasher = blake3(max_threads=blake3.AUTO)
    hasher.update_mmap(path)
    return hasher.hexdigest(length=16)


def digest_bytes(body: Any) -> str:
    """The same of bytes in memory."""
    return blake3(body).hexdigest(length=16)

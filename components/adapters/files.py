"""What the commit kernel asks of a place that holds files: a local folder, or a bucket of an object store.

Names are relative to the place's root, with `/`. One checker test (tests/adapters/test_store.py) runs over every
implementation. Not here: what the files mean (store.py, pointers.py).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Held(Protocol):
    """A folder of one writer on this machine, safe from sweeps while the writer lives."""

    path: Path

    def release(self) -> None:
        """Let go; what was published stays."""

    def remove(self) -> None:
        """Let go and take away what was written. What cannot be taken away now goes later."""


class Files(Protocol):
    """Durable files with one exclusive operation, `create`."""

    def place(self, name: str) -> str:
        """`name` as a person is told it."""

    def read(self, name: str) -> bytes:
        """The bytes of `name`; FileNotFoundError where it is not there. Never stale, never half."""

    def names(self, folder: str) -> list[str]:
        """The children of `folder`, sorted; none where it is not there or a file. Never stale."""

    def create(self, name: str, body: bytes, scratch: Path | None = None) -> bool:
        """Write `name` unless it exists; True for the one writer that made it. Durable when it returns.

        `scratch` is a held folder for what is unfinished.
        """

    def stage(self, folder: str, name: str, kept: Callable[[], tuple[str, ...]]) -> Held:
        """A writer's own folder that `publish` turns into `folder/name`.

        What dead writers left beside it goes, except the names that `kept()` says.
        """

    def publish(self, held: Held) -> None:
        """Make every file of the held folder durable under its name."""

    def fetch(self, folder: str, name: str, size: int) -> Path:
        """Where the published file `folder/name` of `size` bytes can be opened on this machine."""

    def forget(self, folder: str, name: str) -> bool:
        """Drop this machine's copy of `name`; False where there is only one and it stays."""

    def using(self) -> AbstractContextManager[None]:
        """What is fetched inside the block may be dropped from this machine after it."""

    def changed(self, name: str) -> float:
        """When the file `name`, or the newest file below the folder `name`, was written, in seconds since 1970.

        0.0 where nothing is there.
        """

    def size(self, name: str) -> int:
        """Bytes of the file `name`, or of all below the folder `name`."""

    def delete(self, name: str) -> None:
        """Remove the file `name`; nothing happens where it is not there."""

    def clear(self, folder: str) -> bool:
        """Remove `folder` with all below it; False where a writer holds it."""

    def end_uploads(self, folder: str, before: float) -> None:
        """Give up uploads below `folder` that began before that time (seconds since 1970) and never ended."""

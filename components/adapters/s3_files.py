"""A bucket of an S3 store as the commit kernel needs it (adapters/files.py).

Objects are sent whole or not at all: a body that ends early never becomes an object. `create` is a conditional put;
it carries a token of its own, so that a writer whose answer was lost can look whether it was the one. Requests are
repeated only where repeating cannot do harm. Listings come from the server every time.
s3fs gives sessions, credentials (the usual `AWS_*` variables, files and roles) and its event loop.
"""

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from components.adapters.file_cache import FileCache
from components.adapters.files import Held
from components.adapters.local_files import HeldFolder, LocalFiles
from components.adapters.s3_errors import as_fault, code_of, may_pass
from components.adapters.s3_requests import AT_ONCE, TRIES, Requests, pause
from components.contracts.errors import EnvironmentFault

WRITER = "millrace-writer"
PROBE = ".probe"


class Staged(HeldFolder):
    """A writer's folder on this machine, and what of it was sent."""

    def __init__(self, files: "S3Files", place: str, held: Held) -> None:
        self.path, self.place, self.sent = held.path, place, False
        self._files, self._held = files, held

    def release(self) -> None:
        """Keep the folder as this machine's copy."""
        self._files.cache.adopt(self.place, self.path)
        self._held.release()

    def remove(self) -> None:
        """Take away what was sent; what the server does not take away now, garbage collection does."""
        if self.sent:
            with suppress(EnvironmentFault):
                self._files.clear(self.place)
        self._held.remove()


class S3Files(Requests):
    """Objects below `s3://bucket/prefix`, with copies on this machine."""

    def __init__(self, url: str, cache: FileCache) -> None:
        super().__init__(url)
        self.cache = cache
        self._local = LocalFiles(cache.root)

    def check(self) -> None:
        """Refuse a store that does not answer, or that ignores the condition of a conditional put.

        Raises:
            EnvironmentFault: E_SERVER_UNREACHABLE, E_CREDENTIALS, E_STORE.
        """
        if self.create(PROBE, b"a second writer must not replace this\n") and self.create(PROBE, b"it was replaced\n"):
            raise EnvironmentFault(
                "E_STORE",
                "this object store ignores conditional writes (If-None-Match), so two runs could overwrite each other",
                place="MILLRACE_STORE",
                value=self.url,
                action="use a store that honours them: AWS S3, MinIO, Ceph and others do",
            )

    def read(self, name: str) -> bytes:
        """The object's bytes."""
        found: bytes = self._repeated(name, lambda: self._get(name, None))
        return found

    def names(self, folder: str) -> list[str]:
        """The names below `folder`, asked of the server."""

        async def listed() -> list[str]:
            found: set[str] = set()
            async for page in self._pages(f"{folder}/" if folder else "", Delimiter="/"):
                found.update(one["Key"] for one in page.get("Contents", ()))
                found.update(one["Prefix"].rstrip("/") for one in page.get("CommonPrefixes", ()))
            return sorted({key.rpartition("/")[2] for key in found} - {""})

        names: list[str] = self._repeated(folder, listed)
        return names

    def create(self, name: str, body: bytes, scratch: Path | None = None) -> bool:
        """A conditional put; after a lost answer the object says who wrote it."""
        token = os.urandom(16).hex()
        for number in range(1, TRIES + 1):
            try:
                self._sync(lambda: self._ask("put_object", name, Body=body, IfNoneMatch="*", Metadata={WRITER: token}))
            except Exception as error:
                if code_of(error) == "PreconditionFailed":
                    return self._writer(name) == token
                if may_pass(error) and number == TRIES:
                    with suppress(FileNotFoundError, EnvironmentFault):
                        return self._writer(name) == token
                if not may_pass(error) or number == TRIES:
                    raise as_fault(error, self.place(name)) from error
                time.sleep(pause(number))
            else:
                return True
        raise AssertionError("the last try returns or raises")

    def stage(self, folder: str, name: str, kept: Callable[[], tuple[str, ...]]) -> Held:
        """A folder on this machine. What dead writers left in the bucket is garbage collection's."""
        return Staged(self, f"{folder}/{name}", self._local.stage("staging", name, kept=lambda: ()))

    def publish(self, held: Held) -> None:
        """Send every file, several at once."""
        assert isinstance(held, Staged)
        held.sent = True
        paths = sorted(path for path in held.path.rglob("*") if path.is_file())
        gate = asyncio.Semaphore(AT_ONCE)

        async def send(path: Path) -> None:
            async with gate:
                await self._patiently(lambda: self._put(f"{held.place}/{path.relative_to(held.path).as_posix()}", path))

        async def everything() -> None:
            tasks = [asyncio.create_task(send(path)) for path in paths]
            try:
                await asyncio.gather(*tasks)
            except BaseException:
                # None may still be sending when what was sent is taken away.
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                raise

        self._sync(everything, held.place)

    def fetch(self, folder: str, name: str, size: int) -> Path:
        """This machine's copy."""
        place = f"{folder}/{name}"

        def download(path: Path) -> None:
            self._repeated(place, lambda: self._get(place, path))

        return self.cache.get(folder, name, size, download)

    def forget(self, folder: str, name: str) -> bool:
        """Drop this machine's copy."""
        self.cache.drop(folder, name)
        return True

    def using(self) -> AbstractContextManager[None]:
        """Copies are held until the block's end."""
        return self.cache.using()

    def changed(self, name: str) -> float:
        """The newest object's time, by the server's clock."""
        return max((one["LastModified"].timestamp() for one in self._objects(name)), default=0.0)

    def size(self, name: str) -> int:
        """Bytes of all objects at or below `name`."""
        return sum(one["Size"] for one in self._objects(name))

    def delete(self, name: str) -> None:
        """Remove one object."""
        self._repeated(name, lambda: self._ask("delete_object", name))

    def clear(self, folder: str) -> bool:
        """Remove all objects below `folder`, and parts of unfinished ones."""
        for one in self._objects(folder):
            self.delete(one["Key"].removeprefix(self.prefix))
        self.end_uploads(f"{folder}/", math.inf)
        return True

    def end_uploads(self, folder: str, before: float) -> None:
        """Abort multipart uploads that began before that time, by the server's clock."""

        async def ended() -> None:
            more: dict[str, Any] = {}
            while True:
                page = await self._ask("list_multipart_uploads", Prefix=self.prefix + folder, **more)
                for one in page.get("Uploads", ()):
                    if one["Initiated"].timestamp() < before:
                        name = one["Key"].removeprefix(self.prefix)
                        await self._ask("abort_multipart_upload", name, UploadId=one["UploadId"])
                if not page.get("IsTruncated"):
                    return
                more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

        self._repeated(folder, ended)

    def _objects(self, name: str) -> list[dict[str, Any]]:
        async def listed() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            async for page in self._pages(name):
                found += page.get("Contents", ())
            return found

        key = self.prefix + name
        found: Iterable[dict[str, Any]] = self._repeated(name, listed)
        return [one for one in found if one["Key"] == key or one["Key"].startswith(f"{key}/")]

    def _writer(self, name: str) -> str:
        head = self._repeated(name, lambda: self._ask("head_object", name))
        return str(head["Metadata"].get(WRITER, ""))

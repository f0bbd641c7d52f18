"""Requests to one bucket: sent, repeated where that does no harm, and ended cleanly when the caller is interrupted.

s3fs gives sessions, credentials (the usual `AWS_*` variables, files and roles) and its event loop; neither it nor
botocore repeats anything.
"""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from components.adapters.local_files import faults
from components.adapters.s3_errors import as_fault, is_missing, may_pass
from components.contracts.errors import EnvironmentFault

TRIES = 5
FIRST_WAIT_SECONDS = 0.1
AT_ONCE = 8
PART_BYTES = 32 * 2**20
MOST_PARTS = 10_000
PAGE = 1000
CLEAN_UP_SECONDS = 30.0

Result = TypeVar("Result")


class Requests:
    """Requests about objects below `s3://bucket/prefix`."""

    def __init__(self, url: str) -> None:
        import s3fs

        self.url = url.rstrip("/")
        self.bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self._session = s3fs.S3FileSystem(
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={
                "retries": {"total_max_attempts": 1},
                "connect_timeout": 10,
                "read_timeout": 60,
                "max_pool_connections": 4 * AT_ONCE,
            },
        )

    def place(self, name: str) -> str:
        """The object's address."""
        return f"{self.url}/{name}"

    def _repeated(self, name: str, ask: Callable[[], Awaitable[Result]]) -> Result:
        """`ask()`, again after faults that may pass; for requests that may be repeated without harm."""
        return self._sync(lambda: self._patiently(ask), name)

    async def _patiently(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        for number in range(1, TRIES):
            try:
                return await ask()
            except Exception as error:
                if not may_pass(error):
                    raise
                await asyncio.sleep(pause(number))
        return await ask()

    def _sync(self, work: Callable[[], Awaitable[Result]], name: str | None = None) -> Result:
        """Run `work()` on the session's loop; with a `name`, faults become lines about it."""
        try:
            return self._finished(work)
        except EnvironmentFault:
            raise
        except Exception as error:
            if name is None:
                raise
            if is_missing(error):
                raise FileNotFoundError(self.place(name)) from error
            raise as_fault(error, self.place(name)) from error

    def _finished(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """`work()` to its end; when this thread is interrupted, only after it has been cancelled and has cleaned up."""
        ended = threading.Event()

        async def guarded() -> Result:
            try:
                return await work()
            finally:
                ended.set()

        running = asyncio.run_coroutine_threadsafe(guarded(), self._session.loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            ended.wait(CLEAN_UP_SECONDS)
            raise

    async def _ask(self, method: str, name: str | None = None, **arguments: Any) -> Any:
        """One request, sent once."""
        client = await self._session.set_session()
        if name is not None:
            arguments["Key"] = self.prefix + name
        return await getattr(client, method)(Bucket=self.bucket, **arguments)

    async def _pages(self, below: str, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        more: dict[str, Any] = {}
        while True:
            page = await self._ask("list_objects_v2", Prefix=self.prefix + below, MaxKeys=PAGE, **arguments, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def _get(self, name: str, path: Path | None) -> bytes:
        answer = await self._ask("get_object", name)
        body: bytes = b""
        async with answer["Body"] as stream:
            if path is None:
                body = await stream.read()
            else:
                with faults(path, answer["ContentLength"]), path.open("wb") as file:
                    async for piece in stream.iter_chunks(2**20):
                        file.write(piece)
        return body

    async def _put(self, name: str, path: Path) -> None:
        size = path.stat().st_size  # noqa: ASYNC240 - a local file, read between two requests
        if size <= 2 * PART_BYTES:
            await self._ask("put_object", name, Body=path.read_bytes())  # noqa: ASYNC240
            return
        upload = (await self._ask("create_multipart_upload", name))["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            length = max(PART_BYTES, -(-size // MOST_PARTS))
            with path.open("rb") as file:
                while body := file.read(length):
                    number = len(parts) + 1
                    part = {"UploadId": upload, "PartNumber": number, "Body": body}
                    sent = await self._patiently(partial(self._ask, "upload_part", name, **part))
                    parts.append({"PartNumber": number, "ETag": sent["ETag"]})
            await self._ask("complete_multipart_upload", name, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            with suppress(Exception):
                await self._ask("abort_multipart_upload", name, UploadId=upload)
            raise


def pause(number: int) -> float:
    """Seconds to wait before the try after the `number`th, spread so that writers do not meet again."""
    return FIRST_WAIT_SECONDS * float(2 ** (number - 1)) * random.uniform(0.5, 1.0)  # noqa: S311

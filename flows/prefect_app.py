"""The local Prefect server's application: Prefect's own, which asks again itself where its database was busy.

On SQLite a write that meets another one is answered 503 at once. Prefect's client then sleeps two seconds, which is
longer than a whole cached run, and a page in the browser shows an error for what a person has just submitted. So the
request is put to the application again, as the client would do, before anybody hears of it; a client that still gets a
503 is told when to come back (RFC 9110, Retry-After).

It answers to this machine's own names only, and a WebSocket to its own pages only: Prefect asks neither, so that a page
on another site could read events, or reach all of it by a name of its own that leads here.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

RETRY_SECONDS = 0.02
RETRIES = 150
READING = frozenset({"GET", "HEAD", "OPTIONS"})
NAMES = frozenset({"127.0.0.1", "localhost", "::1"})

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class LocalServer:
    """Refuses what is not of this machine, and puts a request that was answered 503 to the application again."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] in {"http", "websocket"} and not _of_this_machine(scope):
            await _refused(scope, send)
            return
        if scope["type"] != "http" or scope["method"] in READING:
            await self._inner(scope, receive, send)
            return
        body = await _body(receive)
        for left in range(RETRIES, -1, -1):
            if await self._tried(scope, body, receive, send, last=not left):
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _tried(self, scope: Any, body: bytes, receive: Receive, send: Send, *, last: bool) -> bool:
        """One try; False where it was answered 503 and nothing was passed on."""
        given = refused = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def unless_busy(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == 503:
                refused = not last
                message["headers"] = [*message["headers"], (b"retry-after", str(RETRY_SECONDS).encode())]
            if not refused:
                await send(message)

        try:
            # Prefect's routes write into the scope.
            await self._inner(dict(scope), again, unless_busy)
        except Exception:
            # Starlette answers an error and raises it on, for the server's log.
            if not refused:
                raise
        return not refused


def _of_this_machine(scope: Any) -> bool:
    """Whether a request names this machine, and a WebSocket, which CORS does not cover, comes from our own pages."""
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    origin = headers.get(b"origin", b"").decode("latin-1")
    own = scope["type"] == "http" or not origin or urlsplit(origin).netloc == host
    return own and urlsplit(f"//{host}").hostname in NAMES


async def _refused(scope: Any, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"this server answers to this machine's own names only"})


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def app() -> LocalServer:
    """For `uvicorn --factory`."""
    from prefect.server.api.server import create_app
    from prefect.server.events.storage import database

    # For SQLite, Prefect compiles each batch of events into a statement of its own, which was a third of this server's
    # time. What it does for PostgreSQL is compiled once, and SQLite takes it as well.
    database._write_sqlite_events = database._write_postgres_events  # noqa: SLF001 - there is no other way in
    return LocalServer(create_app(final=True))

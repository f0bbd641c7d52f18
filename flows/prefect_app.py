"""The local Prefect server's application: Prefect's own, with a sooner retry.

On SQLite a write that meets another one is answered 503 at once, and Prefect's client then sleeps two seconds before
it asks again, which is longer than a whole cached run. The server may say when to come back (RFC 9110, Retry-After);
here it does.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

RETRY_AFTER_SECONDS = b"0.1"

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


class RetrySoon:
    """Adds `Retry-After` to every 503."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Pass a request on."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 503:
                message["headers"] = [*message["headers"], (b"retry-after", RETRY_AFTER_SECONDS)]
            await send(message)

        await self._inner(scope, receive, marked)


def app() -> RetrySoon:
    """For `uvicorn --factory`."""
    from prefect.server.api.server import create_app

    return RetrySoon(create_app(final=True))

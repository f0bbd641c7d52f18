"""The body of a request: read whole, within limits, and made rows by its type."""

import asyncio
from collections.abc import Sequence

from starlette.requests import Request

from components.contracts.spec import Column
from components.serve.settings import ServeConfig
from components.serve.wire import Asked, RefusedError, read_csv, read_file, read_form, read_json

JSON, CSV, FORM = "application/json", "text/csv", "multipart/form-data"
FILES = ("image/", "audio/", "application/octet-stream")
LARGE = 2**16
"""Bodies of more bytes are read beside the loop, which goes on with others."""


async def asked_in(request: Request, config: ServeConfig, columns: Sequence[Column]) -> Asked:
    """The rows of a request's body, of any kind that there is.

    Raises:
        RefusedError: What is wrong with it.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {JSON, CSV, FORM} and not kind.startswith(FILES):
        raise RefusedError(415, "E_CONTENT_TYPE", f"send {JSON}, {CSV}, {FORM} or a file")
    body = await _body(request, config)
    if kind == FORM:
        return await read_form(request.headers, body, columns, config.most_rows)

    def read() -> Asked:
        if kind == JSON:
            return read_json(body, config.most_rows)
        return read_csv(body, columns, config.most_rows) if kind == CSV else read_file(body, columns)

    return await asyncio.to_thread(read) if len(body) > LARGE else read()


async def _body(request: Request, config: ServeConfig) -> bytes:
    """The whole body, no more of which is held than may be, and for no longer than it may take."""
    length = request.headers.get("content-length", "")
    too_large = RefusedError(413, "E_TOO_LARGE", f"the body has more than {config.most_bytes:,} bytes")
    if length.isdigit() and int(length) > config.most_bytes:
        raise too_large
    pieces, size = [], 0
    try:
        async with asyncio.timeout(config.body_seconds):
            async for piece in request.stream():
                size += len(piece)
                if size > config.most_bytes:
                    raise too_large
                pieces.append(piece)
    except TimeoutError:
        raise RefusedError(408, "E_SLOW", f"the body took longer than {config.body_seconds:g} s") from None
    return b"".join(pieces)

"""The body of a request: read whole, within limits, and made rows by its type.

JSON and CSV are wire.py's; a form, or a body that is a file, has files as they are.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pyarrow as pa
from starlette.datastructures import Headers
from starlette.requests import Request

from components.contracts.errors import shorten
from components.contracts.spec import Column
from components.serve.settings import ServeConfig
from components.serve.wire import BYTES, Asked, RefusedError, check_rows, read_csv, read_json

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
        return await _form(request.headers, body, columns, config.most_rows)

    def read() -> Asked:
        if kind == JSON:
            return read_json(body, config.most_rows)
        return read_csv(body, columns, config.most_rows) if kind == CSV else _file(body, columns)

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


async def _form(headers: Headers, body: bytes, columns: Sequence[Column], most_rows: int) -> Asked:
    """The rows of an HTML form, files as files: a column that comes several times has as many rows.

    Raises:
        RefusedError: 400, it cannot be read, or columns come unequally often; 413, it has too many rows.
    """
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    most = most_rows * max(len(columns), 1)
    cells: dict[str, list[Any]] = {}
    try:
        # Its own limits are of what it takes in; all of that is here already.
        form = await MultiPartParser(
            headers, whole(), max_files=most, max_fields=most, max_part_size=len(body) + 1
        ).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        said = shorten(str(error), 200)
        if said.startswith("'Too many"):
            raise RefusedError(413, "E_TOO_MANY_ROWS", f"at most {most_rows:,} rows are taken") from error
        raise RefusedError(400, "E_FORMAT", f"the body is no form of several parts: {said}") from error
    for name, value in form.multi_items():
        found = await value.read() if isinstance(value, UploadFile) else value
        cells.setdefault(name, []).append(found or None)
    await form.close()
    files = {one.name for one in columns if one.type in BYTES}
    lengths = {len(cells[one.name]) for one in columns if one.name in cells}
    if len(lengths) > 1:
        raise RefusedError(400, "E_FORMAT", "every column has to come as often as the others")
    check_rows(max(lengths, default=0), most_rows)
    arrays = {}
    for one in columns:
        if one.name in cells:
            kind, wrong = (pa.binary(), str) if one.name in files else (pa.string(), bytes)
            if any(isinstance(cell, wrong) for cell in cells[one.name]):
                raise RefusedError(400, "E_TYPE", f"{one.name} has to be {'a file' if one.name in files else 'text'}")
            arrays[one.name] = pa.chunked_array([pa.array(cells[one.name], kind)])
    return Asked(arrays, max(lengths))


def _file(body: bytes, columns: Sequence[Column]) -> Asked:
    """One row, of a file as the whole body, for a model that needs nothing else.

    Raises:
        RefusedError: 400, it is empty; 415, the model asks for more or for something else.
    """
    needed = [one for one in columns if not one.nullable] or list(columns[:1] if len(columns) == 1 else ())
    if len(needed) != 1 or needed[0].type not in BYTES:
        raise RefusedError(415, "E_CONTENT_TYPE", "the model asks for other columns than one file: send JSON or a form")
    if not body:
        raise RefusedError(400, "E_NO_ROWS", "the request has no rows")
    return Asked({needed[0].name: pa.chunked_array([pa.array([body], pa.binary())])}, 1)

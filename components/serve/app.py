"""HTTP: MLflow's routes over hosted models, with limits, a token, metrics, request ids, and an OpenAPI document.

What a client does wrong is answered 4xx with a code and one line; nothing it sends ends in a 500, and what waits is
bounded. The handlers are Starlette's own: FastAPI's reading of arguments would cost as much as the rest.
"""

import asyncio
import hmac
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
from fastapi import FastAPI
from pydantic import Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from components.contracts.config import StepConfig
from components.serve.batching import Batcher, FullError
from components.serve.hosting import Host
from components.serve.metrics import Metrics
from components.serve.openapi import described
from components.serve.wire import Asked, RefusedError, read_csv, read_json

JSON, CSV = "application/json", "text/csv"
REQUEST_ID = re.compile(r"^[\w.:-]{1,64}$", re.ASCII)
LARGE = 2**16
"""Bodies of more bytes are read beside the loop, which goes on with others."""
Handler = Callable[[Request], Awaitable[Response]]


class ServeConfig(StepConfig):
    """What a server takes on."""

    most_bytes: int = Field(16 * 2**20, ge=1, description="the largest body of a request, in bytes; more is 413")
    most_rows: int = Field(10_000, ge=1, description="the most rows of a request; more is 413")
    batch_rows: int = Field(256, ge=1, description="rows that are answered together at most; 1: none are")
    queue_rows: int = Field(20_000, ge=1, description="rows that wait at most; more is 429")
    body_seconds: float = Field(10.0, gt=0, description="how long a client may take to send its body; more is 408")
    answer_seconds: float = Field(30.0, gt=0, description="how long an answer may take; more is 503")
    look_seconds: float = Field(1.0, gt=0, description="how often the champion is looked for")
    log: bool = Field(True, description="whether each request is a line of JSON on standard error")


class Served:
    """A hosted model with what waits for it."""

    def __init__(self, host: Host, config: ServeConfig) -> None:
        self.host = host
        self.batcher = Batcher(self._answers, most_rows=config.batch_rows, queue_rows=config.queue_rows)

    def _answers(self, asked: Sequence[Asked]) -> list[Any]:
        # One version for all of a batch, whoever comes meanwhile.
        now = self.host.now
        return [one if isinstance(one, Exception) else (one, now) for one in now.answers(asked)]


def create(hosts: Sequence[Host], config: ServeConfig, token: str = "") -> FastAPI:
    """The application; where a `token` is given every route but /ping and /health asks for it."""
    desk = Desk({one.name: Served(one, config) for one in hosts}, config)
    app = FastAPI(title="Millrace", lifespan=desk.open, docs_url=None, redoc_url=None, openapi_url=None)
    guard = _guarded(desk.metrics, config, token)
    for path, handler, method in (
        ("/invocations", desk.invocations, "POST"),
        ("/models/{name}/invocations", desk.invocations, "POST"),
        ("/version", desk.version, "GET"),
        ("/metrics", desk.counts, "GET"),
        ("/openapi.json", desk.document, "GET"),
    ):
        app.add_route(path, guard(handler), methods=[method])
    for path in ("/ping", "/health"):
        app.add_route(path, desk.ping, methods=["GET"])
    return app


class Desk:
    """The handlers, over the models by their names."""

    def __init__(self, served: dict[str, Served], config: ServeConfig) -> None:
        self.served, self.config, self.metrics, self.draining = served, config, Metrics(served), False

    @asynccontextmanager
    async def open(self, _: FastAPI) -> AsyncIterator[None]:
        """While the server runs: look for new champions; in the end let what waits be answered."""
        looking = asyncio.create_task(_look(self.served, self.config.look_seconds))
        yield
        self.draining = True
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        for one in self.served.values():
            await one.batcher.drained()
            one.batcher.close()

    async def invocations(self, request: Request) -> Response:
        """The answers to a body's rows."""
        config, chosen = self.config, _chosen(self.served, request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in {JSON, CSV}:
            raise RefusedError(415, "E_CONTENT_TYPE", f"send {JSON} or {CSV}")
        body = await _body(request, config)
        columns = chosen.host.now.columns

        def read() -> Asked:
            return read_json(body, config.most_rows) if kind == JSON else read_csv(body, columns, config.most_rows)

        asked = await asyncio.to_thread(read) if len(body) > LARGE else read()
        request.state.rows = asked.rows
        try:
            async with asyncio.timeout(config.answer_seconds):
                answers, by = await chosen.batcher.ask(asked, asked.rows)
        except FullError:
            raise RefusedError(429, "E_BUSY", "too many rows wait already; try again") from None
        except TimeoutError:
            raise RefusedError(503, "E_BUSY", f"no answer within {config.answer_seconds:g} s; try again") from None
        headers = {"x-model-name": by.name, "x-model-version": by.place.version}
        return Response(orjson.dumps({"predictions": answers}), media_type=JSON, headers=headers)

    async def ping(self, _: Request) -> Response:
        """Whether requests are taken."""
        return Response(b"\n", 503 if self.draining else 200, media_type=JSON)

    async def version(self, _: Request) -> Response:
        """Which versions answer."""
        found = {
            name: {
                "version": one.host.now.place.version,
                "package": one.host.now.place.content,
                "alias": one.host.alias,
                "swaps": one.host.swaps,
            }
            for name, one in self.served.items()
        }
        return Response(orjson.dumps(found), media_type=JSON)

    async def counts(self, _: Request) -> Response:
        """Prometheus' text."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def document(self, _: Request) -> Response:
        """OpenAPI."""
        hosted = [one.host.now for one in self.served.values()]
        return Response(orjson.dumps(described(hosted)), media_type=JSON)


def _guarded(metrics: Metrics, config: ServeConfig, token: str) -> Callable[[Handler], Handler]:
    """Handlers with the token asked for, a request id, mistakes as answers, and each request counted and told."""

    def guard(handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            began = time.perf_counter()
            given = request.headers.get("x-request-id", "")
            number = given if REQUEST_ID.match(given) else os.urandom(8).hex()
            try:
                _allowed(request, token)
                answer = await handler(request)
            except RefusedError as refused:
                answer = _refusal(refused, number)
            except ClientDisconnect:
                answer = _refusal(RefusedError(400, "E_CLIENT_GONE", "the client went away"), number)
            answer.headers["x-request-id"] = number
            seconds = time.perf_counter() - began
            metrics.counted(request.url.path, answer.status_code, getattr(request.state, "rows", 0), seconds)
            if config.log:
                line = {
                    "time": round(time.time(), 3),
                    "request": number,
                    "path": request.url.path,
                    "status": answer.status_code,
                    "rows": getattr(request.state, "rows", 0),
                    "ms": round(seconds * 1000, 2),
                    "version": answer.headers.get("x-model-version", ""),
                }
                sys.stderr.write(json.dumps(line) + "\n")
            return answer

        return guarded

    return guard


def _allowed(request: Request, token: str) -> None:
    if not token:
        return
    given = request.headers.get("authorization", "").encode("utf-8", "replace")
    if not hmac.compare_digest(given, f"Bearer {token}".encode()):
        raise RefusedError(401, "E_TOKEN", "the header Authorization: Bearer … is missing or wrong")


def _chosen(served: dict[str, Served], request: Request) -> Served:
    name = request.path_params.get("name", "")
    if not name and len(served) == 1:
        return next(iter(served.values()))
    if name in served:
        return served[name]
    raise RefusedError(404, "E_MODEL", f"this server has {', '.join(served)}: /models/NAME/invocations")


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


def _refusal(refused: RefusedError, number: str) -> Response:
    said = {"error_code": refused.code, "message": refused.message, "request_id": number}
    headers = {"retry-after": "1"} if refused.status in {429, 503} else {}
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refused.status in {408, 413}:
        # What is left of the body is not read.
        headers["connection"] = "close"
    return Response(orjson.dumps(said), refused.status, headers, JSON)


async def _look(served: dict[str, Served], seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        for one in served.values():
            await asyncio.to_thread(one.host.look)

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
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from components.serve.batching import Batcher, FullError
from components.serve.bodies import JSON, asked_in
from components.serve.hosting import Host
from components.serve.log import Log
from components.serve.metrics import Metrics
from components.serve.openapi import described
from components.serve.page import PAGE, PAGE_HEADERS, page_file
from components.serve.settings import ServeConfig
from components.serve.wire import Asked, RefusedError

REQUEST_ID = re.compile(r"^[\w.:-]{1,64}$", re.ASCII)
EXPLAINING = 8
"""Requests that wait to be explained at most."""
Handler = Callable[[Request], Awaitable[Response]]


class Served:
    """A hosted model with what waits for it."""

    def __init__(self, host: Host, config: ServeConfig) -> None:
        self.host = host
        self.log = Log(host.ctx.store, host.name, config.log, host.told)
        self.batcher = Batcher(self._answers, most_rows=config.batch_rows, queue_rows=config.queue_rows)

    def _answers(self, asked: Sequence[Asked]) -> list[Any]:
        # One version for all of a batch, whoever comes meanwhile.
        now = self.host.now
        return [one if isinstance(one, Exception) else (one, now) for one in now.answers(asked)]


def create(hosts: Sequence[Host], config: ServeConfig, token: str = "") -> FastAPI:
    """The application; where a `token` is given every route but /ping, /health and the page's asks for it."""
    desk = Desk({one.name: Served(one, config) for one in hosts}, config)
    app = FastAPI(title="Millrace", lifespan=desk.open, docs_url=None, redoc_url=None, openapi_url=None)
    guard = _guarded(desk.metrics, config, token)
    for path, handler, method in (
        ("/invocations", desk.invocations, "POST"),
        ("/models/{name}/invocations", desk.invocations, "POST"),
        ("/explain", desk.explain, "POST"),
        ("/models/{name}/explain", desk.explain, "POST"),
        ("/version", desk.version, "GET"),
        ("/metrics", desk.counts, "GET"),
        ("/openapi.json", desk.document, "GET"),
    ):
        app.add_route(path, guard(handler), methods=[method])
    for path in ("/ping", "/health"):
        app.add_route(path, desk.ping, methods=["GET"])
    for path in PAGE:
        app.add_route(path, desk.page, methods=["GET"])
    return app


class Desk:
    """The handlers, over the models by their names."""

    def __init__(self, served: dict[str, Served], config: ServeConfig) -> None:
        self.served, self.config, self.metrics, self.draining = served, config, Metrics(served), False
        self._explaining, self._explains = 0, asyncio.Semaphore(1)

    @asynccontextmanager
    async def open(self, _: FastAPI) -> AsyncIterator[None]:
        """While the server runs: look for new champions; in the end let what waits be answered."""
        served = self.served.values()
        again: list[tuple[float, list[Callable[[], object]]]] = [
            (self.config.look_seconds, [one.host.look for one in served]),
            (self.config.log.seconds, [one.log.write for one in served]),
        ]
        every = [asyncio.create_task(_again(seconds, works)) for seconds, works in again]
        yield
        self.draining = True
        for task in every:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for one in self.served.values():
            await one.batcher.drained()
            one.batcher.close()
            await asyncio.to_thread(one.log.write)

    async def invocations(self, request: Request) -> Response:
        """The answers to a body's rows."""
        config, chosen = self.config, _chosen(self.served, request)
        asked = await asked_in(request, config, chosen.host.now.columns)
        request.state.rows = asked.rows
        try:
            async with asyncio.timeout(config.answer_seconds):
                answers, by = await chosen.batcher.ask(asked, asked.rows)
        except FullError:
            raise RefusedError(429, "E_BUSY", "too many rows wait already; try again") from None
        except TimeoutError:
            raise RefusedError(503, "E_BUSY", f"no answer within {config.answer_seconds:g} s; try again") from None
        chosen.log.note(by, asked, answers, request.state.number)
        headers = {"x-model-name": by.name, "x-model-version": by.place.version}
        return Response(orjson.dumps({"predictions": answers}), media_type=JSON, headers=headers)

    async def explain(self, request: Request) -> Response:
        """The answer to a body of one row, and why it is so."""
        now = _chosen(self.served, request).host.now
        asked = await asked_in(request, self.config, now.columns)
        if asked.rows != 1:
            raise RefusedError(400, "E_FORMAT", f"one row is explained at a time, and these are {asked.rows}")
        if self._explaining >= EXPLAINING:
            raise RefusedError(429, "E_BUSY", "others are explained already; try again")
        self._explaining += 1
        try:
            async with self._explains:
                told = await asyncio.to_thread(now.explained, asked)
        finally:
            self._explaining -= 1
        headers = {"x-model-name": now.name, "x-model-version": now.place.version}
        return Response(orjson.dumps(told), media_type=JSON, headers=headers)

    async def page(self, request: Request) -> Response:
        """The page to try a model by hand, or a file of it; without anything of the models."""
        kind, body = page_file(request.url.path)
        return Response(body, media_type=kind, headers=PAGE_HEADERS)

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
                request.state.number = number
                _allowed(request, token)
                answer = await handler(request)
            except RefusedError as refused:
                answer = _refusal(refused, number)
            except ClientDisconnect:
                answer = _refusal(RefusedError(400, "E_CLIENT_GONE", "the client went away"), number)
            except Exception as error:  # noqa: BLE001 - a defect of ours: it is told, counted, and ends nothing else
                sys.stderr.write("".join(traceback.format_exception(error)))
                answer = _refusal(
                    RefusedError(500, "E_INTERNAL", "this is a defect; the server's log says more"), number
                )
            answer.headers["x-request-id"] = number
            seconds = time.perf_counter() - began
            metrics.counted(request.url.path, answer.status_code, getattr(request.state, "rows", 0), seconds)
            if config.lines:
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


def _refusal(refused: RefusedError, number: str) -> Response:
    said = {"error_code": refused.code, "message": refused.message, "request_id": number}
    headers = {"retry-after": "1"} if refused.status in {429, 503} else {}
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refused.status in {408, 413}:
        # What is left of the body is not read.
        headers["connection"] = "close"
    return Response(orjson.dumps(said), refused.status, headers, JSON)


async def _again(seconds: float, works: Sequence[Callable[[], object]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        for work in works:
            await asyncio.to_thread(work)

"""`millrace serve`: a server's processes over one listening socket, and what ends and replaces them."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pydantic import ValidationError

from components.adapters.secrets import secret
from components.context import open_context
from components.contracts.errors import ConfigError, EnvironmentFault
from components.contracts.placement import Placement
from components.exports.graph import check_onnx
from components.registered import find, named
from components.serve.settings import ServeConfig
from flows import mlflow_server, settings
from flows.mistakes import mistakes, raise_all
from flows.overrides import override

SECRET = "secret://serve"  # noqa: S105 - where the token is, and not the token
DRAIN_SECONDS, KEEP_SECONDS = 30, 30
QUICK_SECONDS = 5.0
"""A worker that ends sooner than this after it began is not started again at once."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked for: NAME, NAME@alias or NAME@version of each model; `overrides` change ServeConfig."""

    models: Sequence[str]
    address: str
    port: int
    workers: int
    overrides: Sequence[str] = ()


def serve(placement: Placement, order: Order, told: Callable[[str], None]) -> None:
    """Serve models until asked to stop.

    Raises:
        ConfigError: E_CONFIG, there is no such model or setting; an address that others reach, without a token.
        EnvironmentFault: E_PORT_TAKEN, E_EXTRA_MISSING.
    """
    config = _config(order.overrides)
    if config.engine == "onnx":
        check_onnx()
    token = _token(order.address)
    placement = mlflow_server.found(placement)
    settings.export(placement, "")
    listening = _listening(order.address, order.port)
    for model in order.models:
        find(open_context(placement), model)
    serving = Serving(placement, order.models, config, listening, token, told)
    if order.workers == 1:
        serving.work()
    else:
        serving.watch(order.workers)


@dataclass(frozen=True)
class Serving:
    """What every process of a server knows."""

    placement: Placement
    models: Sequence[str]
    config: ServeConfig
    listening: socket.socket
    token: str
    told: Callable[[str], None]

    def work(self) -> None:
        """One process: load the models, then answer until it is asked to stop."""
        import torch
        import uvicorn

        from components.serve.app import create
        from components.serve.hosting import Host

        # Requests come side by side; a second thread of one of them would take a core from another.
        torch.set_num_threads(1)
        ctx = open_context(self.placement, "serving")
        hosts = []
        address, port = self.listening.getsockname()[:2]
        for name, alias in map(named, self.models):
            host = Host(ctx, name, alias, self.told, graph=self.config.engine == "onnx")
            hosts.append(host)
            self.told(f"{name} version {host.now.place.version} answers at http://{address}:{port}/invocations")
        config = uvicorn.Config(
            create(hosts, self.config, self.token),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            timeout_keep_alive=KEEP_SECONDS,
        )
        uvicorn.Server(config).run(sockets=[self.listening])

    def watch(self, workers: int) -> None:
        """Keep so many processes at work until this one is asked to stop."""
        running: dict[int, float] = {}
        ending = False

        def end(*_: object) -> None:
            nonlocal ending
            ending = True
            # Who comes now is refused at once, and does not wait for processes that take nobody any more.
            self.listening.close()
            for process in running:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)

        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, end)
        while not ending or running:
            while not ending and len(running) < workers:
                running[_forked(self.work)] = time.monotonic()
            try:
                process, status = os.wait()
            except ChildProcessError:
                continue
            lived = time.monotonic() - running.pop(process, 0.0)
            if not ending:
                code = os.waitstatus_to_exitcode(status)
                self.told(f"process {process} ended ({code}); another takes its place")
                if lived < QUICK_SECONDS:
                    time.sleep(QUICK_SECONDS - lived)


def _config(overrides: Sequence[str]) -> ServeConfig:
    raw: dict[str, Any] = {}
    for text in overrides:
        override(raw, text)
    try:
        return ServeConfig.model_validate(raw)
    except ValidationError as error:
        raise_all(mistakes(error, ServeConfig, raw, []))
        raise


def _forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, signal.SIG_DFL)
    code = 1
    try:
        work()
        code = 0
    except Exception as error:  # noqa: BLE001 - the end of a process: it says why in one line
        sys.stderr.write(f"{error}\n")
    finally:
        os._exit(code)


def _token(address: str) -> str:
    """The token that requests have to carry; an address that others reach is refused without one."""
    try:
        return secret(SECRET, "serve")
    except EnvironmentFault as error:
        if error.code != "E_CREDENTIALS":
            raise
        if not ip_address(address).is_loopback:
            raise ConfigError(
                "E_CONFIG",
                "an address that other machines reach needs a token",
                place="--address",
                value=address,
                allowed="127.0.0.1, or a token",
                action=error.action,
            ) from error
        return ""


def _listening(address: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address, port))
    except OSError as error:
        raise EnvironmentFault(
            "E_PORT_TAKEN",
            f"the port cannot be listened at ({error.strerror})",
            place="--port",
            value=port,
            action="set another one; 0 takes any that is free",
        ) from error
    listening.listen(1024)
    listening.set_inheritable(True)
    return listening

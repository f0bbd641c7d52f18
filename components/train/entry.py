"""The first thing that a training child does: cut itself loose from the terminal and hold on to its supervisor."""

import json
import os
import pathlib
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from components.contracts.errors import ConfigError, MillraceError


def enter(job_file: str, log: str, events: Connection, lifeline: Connection) -> None:
    """Run the job of `job_file`, say how it goes on `events`, and end when `lifeline` does."""
    os.setsid()
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)

    def tell(event: dict[str, object]) -> None:
        events.send_bytes(json.dumps(event).encode())

    job: dict[str, Any] = {}
    try:
        from components.train.worker import work

        with pathlib.Path(job_file).open(encoding="utf-8") as file:
            job = json.load(file)
        tell({"event": "done", **work(job, tell)})
    except MillraceError as error:
        if error.code == "E_CUSTOM":
            traceback.print_exc()
        _tell_mistake(error, tell)
    except BaseException as error:
        traceback.print_exc()
        own = own_mistake(error, job)
        if own is not None:
            _tell_mistake(own, tell)
            sys.stderr.flush()
            os._exit(0)
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def own_mistake(error: BaseException, job: dict[str, Any]) -> ConfigError | None:
    """The line for an error that was raised in a module of a custom kind of the job, or below it; None elsewhere."""
    lines = own_lines(error, {target.partition(":")[0] for target in _targets(job)})
    # Too little memory is no mistake in code; torch has an error of its own for a GPU's.
    if not lines or not isinstance(error, Exception) or type(error).__name__ in {"MemoryError", "OutOfMemoryError"}:
        return None
    said = f"code of the recipe's own raised {type(error).__name__}: {' '.join(str(error).split())}"
    return ConfigError("E_CUSTOM", said, place=lines[-1], action="correct it")


def own_lines(error: BaseException, modules: set[str]) -> list[str]:
    """Which lines in the packages of `modules` the error came through, from the outermost."""
    packages = {one.partition(".")[0] for one in modules}
    return [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] in packages
    ]


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if value.get("kind") == "custom" and isinstance(value.get("target"), str):
            yield value["target"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _targets(one)


def _tell_mistake(error: MillraceError, tell: Callable[[dict[str, object]], None]) -> None:
    said = {name: getattr(error, name) for name in ("code", "what", "place", "value", "allowed", "action")}
    tell({"event": "error", "type": type(error).__name__, **said})


def _watch(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(75)

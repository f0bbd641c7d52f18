"""The first thing that a training child does: cut itself loose from the terminal and hold on to its supervisor."""

import ctypes
import faulthandler
import json
import os
import pathlib
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from components.contracts.errors import ConfigError, MillraceError

PREEMPTED = 75
"""The exit code of who was asked to stop and can go on."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt (malloc.h of glibc)."""
KEPT_BYTES, LARGE_BYTES = 2**30, 2**25
"""What is kept at most, and from what size on memory is mapped on its own (the largest that glibc takes)."""


def enter(job_file: str, log: str, events: Connection, lifeline: Connection) -> None:
    """Run the job of `job_file` in this process, say how it goes on `events`, and end when `lifeline` does."""
    settle(log, lifeline)
    job = read(job_file)
    code, error = attempted(job, teller(events))
    if error is not None:
        teller(events)(error)
    leave(code)


def settle(log: str, lifeline: Connection) -> None:
    """Cut loose from the terminal, write to `log`, end with `lifeline`, and say where one is when asked (SIGUSR2)."""
    os.setsid()
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    # Without it cuBLAS may give other sums in another run.
    os.putenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _keep_memory()


def _keep_memory() -> None:
    """Let the C library keep what tensors were freed: it would give it back, and find it again page by page each step.

    Measured with two processes of one thread on a CNN: a third of their time.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(TRIM_THRESHOLD, KEPT_BYTES)
        library.mallopt(MMAP_THRESHOLD, LARGE_BYTES)


def read(job_file: str) -> dict[str, Any]:
    """The job."""
    job: dict[str, Any] = json.loads(pathlib.Path(job_file).read_bytes())
    return job


def teller(events: Connection) -> Callable[[dict[str, Any]], None]:
    """Who writes events."""
    return lambda event: events.send_bytes(json.dumps(event).encode())


def attempted(
    job: dict[str, Any], tell: Callable[[dict[str, Any]], None], **more: Any
) -> tuple[int, dict[str, Any] | None]:
    """Run the job here: the exit code, and the event that says which mistake of a user's ended it, if one did."""
    try:
        from components.train.worker import work

        tell({"event": "done", **work(job, tell, **more)})
    except MillraceError as error:
        if error.code == "E_CUSTOM":
            traceback.print_exc()
        return 0, _mistake(error)
    except BaseException as error:
        if type(error).__name__ == "PreemptedError":
            return PREEMPTED, None
        traceback.print_exc()
        own = own_mistake(error, job)
        return (1, None) if own is None else (0, _mistake(own))
    return 0, None


def leave(code: int) -> NoReturn:
    """End without Python's own tear-down: threads of libraries have nothing left to do."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def own_mistake(error: BaseException, job: dict[str, Any]) -> ConfigError | None:
    """The line for an error that was raised in a module of a custom kind of the job, or below it; None elsewhere."""
    lines = own_lines(error, {target.partition(":")[0] for target in _targets(job)})
    if not lines or not isinstance(error, Exception) or starved(error):
        return None
    said = f"code of the recipe's own raised {type(error).__name__}: {' '.join(str(error).split())}"
    return ConfigError("E_CUSTOM", said, place=lines[-1], action="correct it")


def starved(error: BaseException) -> bool:
    """Whether there was too little memory, which is no mistake in code; of a CPU's torch has no error of its own."""
    return type(error).__name__ in {"MemoryError", "OutOfMemoryError"} or "allocate memory" in str(error)


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


def _mistake(error: MillraceError) -> dict[str, Any]:
    said = {name: getattr(error, name) for name in ("code", "what", "place", "value", "allowed", "action")}
    return {"event": "error", "type": type(error).__name__, **said}


def _watch(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(PREEMPTED)

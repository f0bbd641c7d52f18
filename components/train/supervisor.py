"""The parent's side of training: a child forked from a server that has torch and Lightning imported.

A fresh interpreter would spend six seconds on those imports; a fork has them in 0.03 s. The child holds the read end
of a pipe that only this process writes, and ends when it closes, however this process went.
"""

import json
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from components.contracts import errors
from components.contracts.errors import EnvironmentFault, MillraceError
from components.train.entry import enter

ERROR = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")
Told = Callable[[dict[str, Any]], None]


def prepare() -> None:
    """Start the server, which imports in the background while other steps run. Harmless when done twice."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["components.train.worker"])
    # A Ctrl-C reaches every process of the terminal; what is ignored here is ignored in the server from its start on.
    if threading.current_thread() is not threading.main_thread():
        forkserver.ensure_running()
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def supervise(job: dict[str, Any], logs: Path, told: Told) -> dict[str, Any]:
    """Run one job to its end and return its last event; `told` gets the others as they come.

    Raises:
        EnvironmentFault: E_TRAINING, the child died or failed; quotes the end of its log.
        MillraceError: what the child raised.
    """
    prepare()
    context = multiprocessing.get_context("forkserver")
    logs.mkdir(parents=True, exist_ok=True)
    name = f"train-{os.getpid()}-{os.urandom(4).hex()}"
    log, job_file = logs / f"{name}.log", logs / f"{name}.json"
    job_file.write_text(json.dumps(job))
    events, writer = context.Pipe(duplex=False)
    reader, lifeline = context.Pipe(duplex=False)
    child = context.Process(target=enter, args=(str(job_file), str(log), writer, reader), name="millrace-train")
    child.start()
    writer.close()
    reader.close()
    try:
        last = _listen(events, child.sentinel, told)
        child.join()
    finally:
        if child.is_alive():
            child.kill()
            child.join()
        lifeline.close()
        events.close()
        job_file.unlink(missing_ok=True)
    if last.get("event") == "done":
        log.unlink(missing_ok=True)
        return last
    if last.get("event") == "error":
        raise _error(last, log)
    raise EnvironmentFault(
        "E_TRAINING",
        f"the training process ended with {_ending(child.exitcode)}: {_tail(log)}",
        place="train",
        action=f"read {log}, then run the same command again",
    )


def _listen(events: Connection, sentinel: int, told: Told) -> dict[str, Any]:
    """Pass events on until the last one; an empty one where the child died without it."""
    while True:
        wait([events, sentinel])
        if not events.poll():
            return {}
        try:
            event: dict[str, Any] = json.loads(events.recv_bytes())
        except EOFError:
            return {}
        if event["event"] in ("done", "error"):
            return event
        told(event)


def _error(event: dict[str, Any], log: Path) -> MillraceError:
    if event["code"] == "E_CUSTOM":
        event["action"] += f"; its traceback stands in {log}"
    parts = (event[name] for name in ("code", "what", "place", "value", "allowed", "action"))
    return errors.rebuilt(getattr(errors, event["type"]), *parts)


def _ending(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    # The line that names the error; what follows it may be the text of a tensor.
    named = [line for line in lines if ERROR.match(line)]
    return (named or lines or ["it said nothing"])[-1]

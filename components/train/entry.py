"""The first thing that a training child does: cut itself loose from the terminal and hold on to its supervisor."""

import json
import os
import pathlib
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

from components.contracts.errors import MillraceError


def enter(job_file: str, log: str, events: Connection, lifeline: Connection) -> None:
    """Run the job of `job_file`, say how it goes on `events`, and end when `lifeline` does."""
    os.setsid()
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)

    def tell(event: dict[str, object]) -> None:
        events.send_bytes(json.dumps(event).encode())

    try:
        from components.train.worker import work

        with pathlib.Path(job_file).open(encoding="utf-8") as file:
            job = json.load(file)
        tell({"event": "done", **work(job, tell)})
    except MillraceError as error:
        fields = ("code", "what", "place", "value", "allowed", "action")
        said = {name: getattr(error, name) for name in fields}
        tell({"event": "error", "type": type(error).__name__, **said})
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def _watch(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(75)

"""A run that is asked to stop stops, wherever the signal finds it."""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.runs import Interruption

AGAIN_SECONDS = 15.0
AT_ONCE_SECONDS = 0.05
ASKING = frozenset({signal.SIGTERM, signal.SIGINT})
END, DROPPED = b"\0", b"\xff"
"""No signals have these numbers."""
STOPS = frozenset({"Interruption", "TerminationSignal", "KeyboardInterrupt"})
"""Ours, Prefect's and Python's."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into `Interruption` inside the block.

    It is raised again while the block does not end: the first one may have come just after a lock was taken in code
    that is not ours, and who needs that lock on the way out would wait for ever. It is raised again at once where it
    came in a finaliser or a library's callback, whose exceptions Python reports and drops. Inside a flow Prefect's
    handler takes the signal, so that it is not a handler that notices it here.
    """
    over = False

    def stop(*_: Any) -> None:
        if not over:
            raise Interruption

    def dropped(what: Any) -> None:
        if what.exc_type.__name__ in STOPS:
            os.write(writer, DROPPED)
        else:
            report(what)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    asking = threading.Thread(target=_ask_again, args=(reader, threading.main_thread().ident), daemon=True)
    before = {name: signal.signal(name, stop) for name in (*ASKING, signal.SIGALRM)}
    noted = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    report, sys.unraisablehook = sys.unraisablehook, dropped
    asking.start()
    try:
        yield
    finally:
        over = True
        os.write(writer, END)
        asking.join()
        signal.set_wakeup_fd(noted)
        sys.unraisablehook = report
        for name, handler in before.items():
            signal.signal(name, handler)
        os.close(reader)
        os.close(writer)


def _ask_again(reader: int, main: int) -> None:
    """Once a signal that asks to stop has come, interrupt the thread `main` every so often."""
    asked = False
    while True:
        if not select.select([reader], [], [], AGAIN_SECONDS if asked else None)[0]:
            signal.pthread_kill(main, signal.SIGALRM)
            continue
        number = os.read(reader, 1)
        if number == END:
            return
        if number == DROPPED:
            time.sleep(AT_ONCE_SECONDS)
            signal.pthread_kill(main, signal.SIGALRM)
            continue
        asked = asked or number[0] in ASKING

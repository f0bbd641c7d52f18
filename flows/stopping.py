"""A run that is asked to stop stops, wherever the signal finds it."""

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.runs import Interruption

AGAIN_SECONDS = 15.0
ASKING = frozenset({signal.SIGTERM, signal.SIGINT})
END = b"\0"


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into `Interruption` inside the block.

    It is raised again while the block does not end. The first one may have come just after a lock was taken in code
    that is not ours, and who needs that lock on the way out would wait for ever; or in a finaliser, whose exceptions
    Python drops. Inside a flow Prefect's handler takes the signal, so that it is not a handler that notices it here.
    """
    over = False

    def stop(*_: Any) -> None:
        if not over:
            raise Interruption

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    asking = threading.Thread(target=_ask_again, args=(reader, threading.main_thread().ident), daemon=True)
    before = {name: signal.signal(name, stop) for name in (*ASKING, signal.SIGALRM)}
    noted = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    asking.start()
    try:
        yield
    finally:
        over = True
        os.write(writer, END)
        asking.join()
        signal.set_wakeup_fd(noted)
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
        asked = asked or number[0] in ASKING

"""An iterator run ahead in a thread."""

from collections.abc import Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

Item = TypeVar("Item")
WAIT_SECONDS = 0.5


def ahead(items: Iterator[Item], depth: int) -> Iterator[Item]:
    """The items, of which up to `depth` are made before they are asked for.

    An error is raised where its item would have come; whoever stops early ends the thread.
    """
    ready: Queue[tuple[str, Any]] = Queue(depth)
    stopped = Event()

    def make() -> None:
        try:
            for item in items:
                if not _put(ready, ("item", item), stopped):
                    return
            _put(ready, ("end", None), stopped)
        except BaseException as error:  # noqa: BLE001 - it is raised where the items are read
            _put(ready, ("error", error), stopped)

    thread = Thread(target=make, name="millrace-ahead", daemon=True)
    thread.start()
    try:
        while True:
            what, item = ready.get()
            if what == "end":
                return
            if what == "error":
                raise item
            yield item
    finally:
        stopped.set()
        while thread.is_alive():
            try:
                ready.get_nowait()
            except Empty:
                thread.join(0.01)


def _put(ready: Queue[Any], item: Any, stopped: Event) -> bool:
    """Whether somebody still wants it."""
    while not stopped.is_set():
        try:
            ready.put(item, timeout=WAIT_SECONDS)
        except Full:
            continue
        return True
    return False

"""A Prefect server that is away for a while: runs go on without it, and tell it how they ended once it is back."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from flows.asked import says
from flows.processes import LOOPBACK

OUTAGE_SECONDS, POLL_SECONDS, CONNECT_SECONDS = 900.0, 1.0, 1.0
_GIVEN_UP = threading.Event()
"""Set once this process has waited in vain."""


def answers() -> bool:
    """Whether the server of this run answers now."""
    from prefect.settings import get_current_settings

    address = get_current_settings().api.url or ""
    return not address or _listens(address)


def _listens(address: str) -> bool:
    """Whether somebody is there: on this machine a connection says it in a tenth of a millisecond."""
    parts = urlsplit(address)
    if parts.hostname != LOOPBACK:
        return says(f"{address.rstrip('/')}/health", b"true")
    try:
        socket.create_connection((LOOPBACK, parts.port or 80), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def await_server(tell: Callable[[str], None] = lambda _: None) -> None:
    """Return when the server answers, or has not for OUTAGE_SECONDS: so long a process waits once."""
    if answers() or _GIVEN_UP.is_set():
        return
    tell(f"the Prefect server does not answer: it is waited for, {OUTAGE_SECONDS / 60:.0f} minutes at most")
    end = time.monotonic() + OUTAGE_SECONDS
    while not answers() and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    if not answers():
        _GIVEN_UP.set()


def tell_if_there(tell: Callable[[], None]) -> bool:
    """Call what only shows how far a run is, unless the server is away; whether it was told."""
    import httpx

    if not answers():
        return False
    with suppress(httpx.TransportError):
        tell()
        return True
    return False

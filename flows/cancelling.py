"""A run that was started from a shell and is cancelled on Prefect's pages: noticed here, since no worker watches it."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from flows.asked import fetched
from flows.runs import Run

LOOK_SECONDS = 1.0


@contextmanager
def cancellable(api_url: str, run: Run) -> Iterator[None]:
    """While the block runs, a run that is being cancelled gets the signal that asks this process to stop."""
    ended, cancelled, deciding = threading.Event(), threading.Event(), threading.Lock()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            number = run.noted.get("prefect_run")
            with suppress(OSError, ValueError):
                if not number or json.loads(fetched(f"{api_url}/flow_runs/{number}"))["state_type"] != "CANCELLING":
                    continue
                with deciding:
                    if not ended.is_set():
                        cancelled.set()
                        os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=look, name="cancelling", daemon=True).start()
    try:
        yield
    finally:
        with deciding:
            ended.set()
        if cancelled.is_set():
            _end(run.noted["prefect_run"])


def _end(number: str) -> None:
    from uuid import UUID

    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(number), Cancelled(message="Cancelled; finished steps are kept."), force=True)

"""Which training processes make no step any more, and how they are ended."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from components.train.pulse import Beat, beats

STARTING = 3.0
"""A process may take so many times longer for its first step: it compiles, or finds its GPU."""
MOST_SECONDS = 2.0
"""A pause between two looks counts at most so much: this process may have been stopped itself."""
ANSWER_SECONDS = 1.0
LIKELY = 0.5
"""Once one is stuck, those that have stood still for this part of the timeout may be what it waits for."""


class Stalls:
    """Looks at a pulse again and again."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        self._path, self._timeout = path, timeout_seconds
        self._last = time.monotonic()
        self._still: dict[int, tuple[tuple[int, int], float]] = {}
        self._nobody = 0.0

    def look(self) -> list[tuple[int, Beat]]:
        """The local ranks that are stuck, and of several those that are the furthest behind: others wait for them."""
        now = time.monotonic()
        passed, self._last = min(now - self._last, MOST_SECONDS), now
        found, standing = [], []
        began = list(enumerate(beats(self._path)))
        said = [(rank, one) for rank, one in began if one.alive]
        self._nobody = self._nobody + passed if began and not said else 0.0
        for rank, one in said:
            key = (one.process, one.count)
            before, still = self._still.get(rank, (key, 0.0))
            still = still + passed if before == key else 0.0
            self._still[rank] = (key, still)
            most = self._timeout * (1.0 if one.count else STARTING)
            if still > most * LIKELY:
                standing.append((rank, one))
            if still > most:
                found.append((rank, one))
        if not found:
            return []
        # Who waits for a process that is stuck may have stood still for longer: its own step was done sooner.
        stopped = [(rank, one) for rank, one in standing if one.stopped]
        least = min(one.count for _, one in standing)
        return stopped or [(rank, one) for rank, one in standing if one.count == least]

    @property
    def deserted(self) -> bool:
        """Whether processes began, and for as long as one may be stuck none has been there."""
        return self._nobody > self._timeout


def ask_where(stuck: list[tuple[int, Beat]], logs: list[Path]) -> str:
    """Let processes write into their logs where they are; who they are and what the first of them said, in words."""
    for _, one in stuck:
        with suppress(ProcessLookupError):
            os.kill(one.process, signal.SIGUSR2)
    time.sleep(ANSWER_SECONDS)
    rank, one = stuck[0]
    where = "it was stopped" if one.stopped else _innermost(logs[min(rank, len(logs) - 1)])
    return f"rank {rank} made no step ({where})"


def end(one: Beat) -> None:
    """Kill a process, if it is still that one."""
    if one.alive:
        with suppress(ProcessLookupError):
            os.kill(one.process, signal.SIGKILL)


def _innermost(log: Path) -> str:
    """Where the main thread was, from the traceback that faulthandler wrote last."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    frames = [at for at, line in enumerate(lines) if line.startswith("Current thread")]
    if not frames or frames[-1] + 1 >= len(lines):
        return "it does not answer"
    return f"it was at {lines[frames[-1] + 1].strip()}"

"""Leases: the right to do one thing, held by renewing it, and the fence that keeps out who lost it.

A lease is a pointer (adapters/pointers.py) that somebody holds; its epoch is the fencing token. Clocks are never
compared between machines: a lease has expired for an observer who has seen the same epoch for three renewals on its
own clock, and its holder writes nothing unless it renewed it less than one renewal ago, or can do so now.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from components.adapters.pointers import Epoch, Pointer
from components.adapters.store import Store
from components.contracts.errors import ConflictError, MillraceError

RENEWALS, RETRY_SECONDS = 3, 1.0


def elapsed() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the machine sleeps where the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """One observer's view of a lease, which it may come to hold. `holder` has to be this one's alone.

    `about` is what others may know of the holder; it stands beside `holder` and `renew_seconds`.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        holder: str,
        renew_seconds: float,
        *,
        clock: Callable[[], float] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        # Not fenced by what it is itself.
        self._pointer = Pointer(Store(store.files), f"leases/{name}")
        self.name, self.holder, self.renew_seconds = name, holder, renew_seconds
        # A holder counts the time that the machine slept. An observer who slept must not: the holder slept with it.
        self._clock, self._watch = clock or elapsed, clock or time.monotonic
        self._about, self._lock = dict(about or {}), threading.RLock()
        self._seen: tuple[int, float] | None = None
        self._renewed, self._ever = 0.0, False
        self.epoch: int | None = None

    def acquire(self) -> bool:
        """Take the lease if it is free or has expired for this observer; `epoch` is then the fencing token."""
        now = self._pointer.read()
        # What is ours already was taken by a call that seemed to fail.
        if now is not None and now.value["holder"] not in {"", self.holder} and not self._expired(now):
            return False
        self._ever = self._move(now.epoch if now else 0, self.holder)
        return self._ever

    def hold(self) -> bool:
        """Take the lease, or renew it where it was taken; False where somebody else has it, or it was lost."""
        with self._lock:
            return self.renew() if self._ever else self.acquire()

    def renew(self) -> bool:
        """Show that the holder lives; False where the lease was lost."""
        with self._lock:
            return self.epoch is not None and self._move(self.epoch, self.holder)

    def check(self) -> None:
        """Return if nobody else can have the lease, taking or renewing it where that is not certain.

        Raises:
            ConflictError: E_LEASE, somebody has.
        """
        with self._lock:
            held = self.epoch is not None and self._clock() - self._renewed < self.renew_seconds
            if not held and not self.hold():
                raise ConflictError(
                    "E_LEASE",
                    "another process took this one for dead, and may go on in its place",
                    place=self.name,
                    action="look at the other one, or run the same command again: what was committed is kept",
                )

    @property
    def seen(self) -> int:
        """The epoch that was seen when it was last asked for and somebody else had it; 0 before."""
        return self._seen[0] if self._seen else 0

    def release(self) -> bool:
        """Let the next one in at once."""
        with self._lock:
            freed = self.epoch is not None and self._move(self.epoch, "")
            self.epoch = None
            return freed

    def drop(self) -> None:
        """Remove the lease of one who comes once: nobody else will ask for it."""
        with self._lock:
            self.epoch = None
            self._pointer.drop()

    def _move(self, after: int, holder: str) -> bool:
        began = self._clock()
        value = {**self._about, "holder": holder, "renew_seconds": self.renew_seconds}
        moved = self._pointer.move(value, after=after)
        if not moved and self._is_ours(after + 1):
            # A renewal that seemed to fail had been made. To let go is one epoch more.
            after += 1 if not holder else 0
            moved = bool(holder) or self._pointer.move(value, after=after)
        self.epoch = after + 1 if moved and stands(self._pointer, after) else None
        self._renewed = began
        return self.epoch is not None

    def _is_ours(self, epoch: int) -> bool:
        """Whether it was made by a call of ours that seemed to fail."""
        with suppress(FileNotFoundError):
            return bool(self._pointer.at(epoch).value["holder"] == self.holder)
        return False

    def _expired(self, now: Epoch) -> bool:
        if self._seen is None or self._seen[0] != now.epoch:
            self._seen = (now.epoch, self._watch())
        return self._watch() - self._seen[1] >= RENEWALS * float(now.value["renew_seconds"])


def stands(pointer: Pointer, after: int) -> bool:
    """Whether the epoch that was made behind `after` is the newest; what came before `after` goes.

    Since old epochs go, a file that could be created says nothing by itself: who slept so long that its own epoch is
    gone finds a gap before the one it made, or newer ones behind it.
    """
    numbers = pointer.numbers()
    if numbers[-1:] != [after + 1] or (after and after not in numbers):
        pointer.forget(after + 1)
        return False
    for number in numbers:
        if number < after:
            pointer.forget(number)
    return True


@contextmanager
def kept(lease: Lease, end: Callable[[], Any] | None = None) -> Iterator[None]:
    """Renew a lease while the block runs, and let it go after it, by `end` if that is given.

    One that is not held yet is taken beside the block, which need not wait for that.
    """
    over = threading.Event()

    def renewing() -> None:
        seconds = lease.renew_seconds if lease.epoch is not None else 0.0
        while not over.wait(seconds):
            # A store that does not answer now may do so before anybody takes the lease; `check` raises what it says.
            seconds = min(RETRY_SECONDS, lease.renew_seconds)
            with suppress(Exception):
                if not lease.hold():
                    return
                seconds = lease.renew_seconds

    renews = threading.Thread(target=renewing, name="lease", daemon=True)
    renews.start()
    try:
        yield
    finally:
        over.set()
        renews.join()
        with suppress(MillraceError, OSError):
            (end or lease.release)()

"""Names that move: a pointer is a row of epochs, each created once; a lease is a pointer that somebody holds.

`<store>/pointers/<name>/<epoch>.json`: the highest epoch is the value and the files are its audit log. The epoch is
the only fencing token. Clocks are never compared between machines: a lease has expired for an observer who has seen
the same epoch for three renewals on its own monotonic clock.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.adapters.store import Store

RENEWALS = 3


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One value of a pointer; epochs start at 1."""

    epoch: int
    value: Mapping[str, Any]


class Pointer:
    """A name with a history."""

    def __init__(self, store: Store, name: str) -> None:
        self._files, self._folder = store.files, f"pointers/{name}"

    def history(self) -> list[Epoch]:
        """Every epoch, oldest first."""
        return [self._read(number) for number in self._numbers()]

    def newest_first(self) -> Iterator[Epoch]:
        """Every epoch, newest first, each read when it is asked for."""
        return (self._read(number) for number in reversed(self._numbers()))

    def read(self) -> Epoch | None:
        """The highest epoch, or None."""
        numbers = self._numbers()
        return self._read(numbers[-1]) if numbers else None

    def move(self, value: Mapping[str, Any], *, after: int) -> bool:
        """Make `value` the epoch behind `after` (0 for the first); False where somebody else was there before."""
        body = json.dumps(dict(value), sort_keys=True, indent=1).encode()
        return self._files.create(f"{self._folder}/{after + 1:012d}.json", body)

    def set(self, value: Mapping[str, Any]) -> Epoch:
        """Make `value` the newest epoch, whatever was there, unless it is the value already."""
        while True:
            now = self.read()
            if now is not None and dict(now.value) == dict(value):
                return now
            after = now.epoch if now else 0
            if self.move(value, after=after):
                return Epoch(epoch=after + 1, value=value)

    def _numbers(self) -> list[int]:
        return [int(name[:-5]) for name in self._files.names(self._folder) if name[:1] != "."]

    def _read(self, number: int) -> Epoch:
        return Epoch(epoch=number, value=json.loads(self._files.read(f"{self._folder}/{number:012d}.json")))


def drift_pointer(store: Store, model: str) -> Pointer:
    """What the last monitoring of a model found."""
    return Pointer(store, f"drift/{model}")


class Lease:
    """The right to do one thing, held by renewing it. Not thread-safe: one observer, one instance."""

    def __init__(
        self,
        store: Store,
        name: str,
        holder: str,
        renew_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pointer = Pointer(store, f"leases/{name}")
        self.holder, self.renew_seconds, self._clock = holder, renew_seconds, clock
        self._seen: tuple[int, float] | None = None
        self.epoch: int | None = None

    def acquire(self) -> bool:
        """Take the lease if it is free or has expired for this observer; `epoch` is then the fencing token."""
        now = self._pointer.read()
        if now is not None and now.value["holder"] and not self._expired(now):
            return False
        return self._move(now.epoch if now else 0, self.holder)

    def renew(self) -> bool:
        """Show that the holder lives; False where the lease was lost."""
        return self.epoch is not None and self._move(self.epoch, self.holder)

    @property
    def seen(self) -> int:
        """The epoch that was seen when it was last asked for and somebody else had it; 0 before."""
        return self._seen[0] if self._seen else 0

    def release(self) -> bool:
        """Let the next one in at once."""
        freed = self.epoch is not None and self._move(self.epoch, "")
        self.epoch = None
        return freed

    def _move(self, after: int, holder: str) -> bool:
        moved = self._pointer.move({"holder": holder, "renew_seconds": self.renew_seconds}, after=after)
        self.epoch = after + 1 if moved else None
        return moved

    def _expired(self, now: Epoch) -> bool:
        if self._seen is None or self._seen[0] != now.epoch:
            self._seen = (now.epoch, self._clock())
        return self._clock() - self._seen[1] >= RENEWALS * float(now.value["renew_seconds"])

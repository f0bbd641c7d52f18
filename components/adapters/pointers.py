"""Names that move: a pointer is a row of epochs, each created once.

`<store>/pointers/<name>/<epoch>.json`: the highest epoch is the value and the files are its audit log. The epoch is
the only fencing token. A lease is a pointer that somebody holds: adapters/leases.py.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.adapters.store import Store


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One value of a pointer; epochs start at 1."""

    epoch: int
    value: Mapping[str, Any]


class Pointer:
    """A name with a history."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._files, self._folder = store, store.files, f"pointers/{name}"

    def history(self) -> list[Epoch]:
        """Every epoch, oldest first."""
        return [self.at(number) for number in self.numbers()]

    def newest_first(self) -> Iterator[Epoch]:
        """Every epoch, newest first, each read when it is asked for."""
        return (self.at(number) for number in reversed(self.numbers()))

    def read(self) -> Epoch | None:
        """The highest epoch, or None."""
        numbers = self.numbers()
        return self.at(numbers[-1]) if numbers else None

    def move(self, value: Mapping[str, Any], *, after: int) -> bool:
        """Make `value` the epoch behind `after` (0 for the first); False where somebody else was there before.

        Raises:
            ConflictError: E_LEASE, the run that this is for was declared dead.
        """
        self._store.fence()
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

    def numbers(self) -> list[int]:
        """The epochs that are there, oldest first."""
        return [int(name[:-5]) for name in self._files.names(self._folder) if name[:1] != "."]

    def at(self, number: int) -> Epoch:
        """One epoch; FileNotFoundError where it is not there."""
        return Epoch(epoch=number, value=json.loads(self._files.read(f"{self._folder}/{number:012d}.json")))

    def forget(self, number: int) -> None:
        """Remove one epoch, and with it a part of the audit log."""
        self._files.delete(f"{self._folder}/{number:012d}.json")

    def clear(self) -> None:
        """Remove every epoch, oldest first, so that what is left at any time is what was said last."""
        for number in self.numbers():
            self.forget(number)
        self.drop()

    def drop(self) -> None:
        """Remove all of it at once, in no order."""
        self._files.clear(self._folder)


def drift_pointer(store: Store, model: str) -> Pointer:
    """What the last monitoring of a model found."""
    return Pointer(store, f"drift/{model}")

"""A file that every training process of a machine writes its steps into, and their supervisor reads.

One row for each local rank: process, when that process began (a number may be given again), steps. Writing one costs
less than a microsecond, and a reader needs nobody's help: a process that is stopped cannot answer.
"""

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

ROW = struct.Struct("<qqq")
BEAT = struct.Struct("<q")
BEGAN = 21
"""The field of /proc/<pid>/stat, counted from 0."""


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What one rank said last."""

    process: int
    began: int
    count: int

    @property
    def alive(self) -> bool:
        """Whether that very process is there, and no zombie."""
        state, began = _stat(self.process)
        return state not in {"", "Z", "X"} and began == self.began

    @property
    def stopped(self) -> bool:
        """Whether it was stopped by a signal."""
        return _stat(self.process)[0] in {"T", "t"}


def create(path: Path, ranks: int) -> None:
    """An empty file for so many local ranks."""
    path.write_bytes(bytes(ROW.size * ranks))


def beats(path: Path) -> list[Beat]:
    """What each local rank that began has said."""
    rows = [ROW.unpack(one) for one in _cut(path.read_bytes())]
    return [Beat(process=process, began=began, count=count) for process, began, count in rows if process]


class Pulse:
    """The side of one local rank."""

    def __init__(self, path: Path, rank: int) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._count, self._at = 0, ROW.size * rank + 2 * BEAT.size
        process = os.getpid()
        ROW.pack_into(self._map, ROW.size * rank, process, _stat(process)[1], 0)

    def beat(self) -> None:
        """Say that something was done."""
        self._count += 1
        BEAT.pack_into(self._map, self._at, self._count)


def _cut(body: bytes) -> list[bytes]:
    return [body[at : at + ROW.size] for at in range(0, len(body), ROW.size)]


def _stat(process: int) -> tuple[str, int]:
    """A process's state, and when it began in ticks since the machine did; "" where there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    # The name, in parentheses, may hold anything.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[BEGAN - 2])

"""What training processes use of the machine, now and then."""

import time
from contextlib import suppress
from pathlib import Path

import psutil

from components.train.pulse import beats

EVERY_SECONDS = 10.0


class Usage:
    """Looks at the processes of a pulse, and at the machine that they run on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = time.monotonic() + EVERY_SECONDS
        psutil.cpu_percent()

    def look(self) -> dict[str, float]:
        """Every ten seconds: the machine's processors in percent, its memory and that of the processes in megabytes."""
        if time.monotonic() < self._next:
            return {}
        self._next = time.monotonic() + EVERY_SECONDS
        resident = 0
        for one in beats(self._path):
            with suppress(psutil.Error):
                resident += psutil.Process(one.process).memory_info().rss if one.alive else 0
        return {
            "system/cpu_percent": psutil.cpu_percent(),
            "system/memory_megabytes": psutil.virtual_memory().used / 2**20,
            "system/training_megabytes": resident / 2**20,
        }

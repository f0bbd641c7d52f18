"""What training processes use of the machine, now and then."""

import re
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from components.train.pulse import beats

EVERY_SECONDS, PATIENCE_SECONDS = 10.0, 3.0


class Usage:
    """Looks at the processes of a pulse, and at the machine that they run on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = time.monotonic() + EVERY_SECONDS
        psutil.cpu_percent()

    def look(self) -> dict[str, float]:
        """Every ten seconds: processors and GPUs in percent, their memory and that of the processes in megabytes."""
        if time.monotonic() < self._next:
            return {}
        resident = 0
        for one in beats(self._path):
            with suppress(psutil.Error):
                resident += psutil.Process(one.process).memory_info().rss if one.alive else 0
        if not resident:
            # They have not begun, or have just ended.
            return {}
        self._next = time.monotonic() + EVERY_SECONDS
        return _of_gpus() | {
            "system/cpu_percent": psutil.cpu_percent(),
            "system/memory_megabytes": psutil.virtual_memory().used / 2**20,
            "system/training_megabytes": resident / 2**20,
        }


def _of_gpus() -> dict[str, float]:
    """What the driver says of each GPU; nothing where there is none."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return {}
    asked = [command, "--query-gpu=index,utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {
        f"system/gpu_{number}_{name}": float(value)
        for number, *values in re.findall(r"^(\d+), (\d+), (\d+)$", said, re.MULTILINE)
        for name, value in zip(("percent", "megabytes"), values, strict=True)
    }

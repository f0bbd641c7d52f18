"""Which accelerators this machine has, found without importing torch: a run that cannot train should not read data."""

import re
import shutil
import subprocess

from components.contracts.errors import ConfigError, EnvironmentFault
from components.train.settings import TrainSettings


def gpus() -> list[str]:
    """The names of the NVIDIA GPUs that the driver lists."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    listed = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=30, check=False)
    return re.findall(r"^GPU \d+: (.*?) \(", listed.stdout, re.MULTILINE)


def processes(settings: TrainSettings) -> int:
    """How many processes train on this machine: one for each GPU that is used; on a CPU as many as were asked for."""
    if settings.devices != "auto":
        return settings.devices
    return max(len(gpus()), 1) if settings.accelerator != "cpu" else 1


def check_devices(settings: TrainSettings) -> None:
    """Raise E_DEVICE where an accelerator that was asked for is not there, or not that often.

    Raises:
        ConfigError: E_CONFIG, settings of several processes that do not fit each other.
    """
    _check_together(settings)
    number = 1 if settings.devices == "auto" else settings.devices
    if settings.accelerator == "cpu" or (settings.accelerator == "auto" and number == 1):
        return
    found = gpus()
    there = ", ".join(found) or "no GPU"
    if (settings.accelerator == "gpu" or found) and number > len(found):
        raise EnvironmentFault(
            "E_DEVICE",
            f"asked for {number} GPU, there is {there}",
            place="train.accelerator" if not found else "train.devices",
            value=settings.accelerator if not found else number,
            allowed="auto or cpu" if not found else f"at most {len(found)}",
            action="set train.accelerator=auto" if not found else f"set train.devices={len(found)}",
        )


def _check_together(settings: TrainSettings) -> None:
    if settings.nodes > 1 and not settings.rendezvous:
        raise ConfigError(
            "E_CONFIG",
            "several machines have to know where they meet",
            place="train.rendezvous",
            value=settings.rendezvous,
            allowed="host:port of the first machine",
            action="set it, to the same on each",
        )
    if settings.strategy == "fsdp" and settings.precision == "float16":
        raise ConfigError(
            "E_CONFIG",
            "fsdp does not scale losses for float16",
            place="train.precision",
            value=settings.precision,
            allowed="float32, bfloat16",
            action="set train.precision=bfloat16",
        )

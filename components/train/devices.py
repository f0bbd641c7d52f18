"""Which accelerators this machine has, found without importing torch: a run that cannot train should not read data."""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from components.contracts.errors import ConfigError, EnvironmentFault
from components.train.settings import TrainSettings


def gpus() -> list[str]:
    """The NVIDIA GPUs that the driver lists, CUDA_VISIBLE_DEVICES allows and the installed torch can use."""
    command = shutil.which("nvidia-smi")
    if command is None or not _built_for_gpus():
        return []
    listed = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=30, check=False)
    found = re.findall(r"^GPU (\d+): (.*?) \(UUID: (.*?)\)", listed.stdout, re.MULTILINE)
    allowed = os.getenv("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return [name for _, name, _ in found]
    chosen = []
    for one in allowed.split(","):
        mine = [name for number, name, uuid in found if one.strip() == number or _begins(uuid, one.strip())]
        if not mine:
            # CUDA takes those before the first that is none.
            break
        chosen.append(mine[0])
    return chosen


def _begins(uuid: str, text: str) -> bool:
    return text.startswith(("GPU-", "MIG-")) and uuid.startswith(text)


def _built_for_gpus() -> bool:
    """Whether torch is; read from its files, since importing it takes seconds."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return False
    text = Path(found.origin).with_name("version.py").read_text()
    return re.search(r"^cuda\b[^=]*= *['\"]", text, re.MULTILINE) is not None


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
    there = ", ".join(found) or "no GPU that the installed torch may use"
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

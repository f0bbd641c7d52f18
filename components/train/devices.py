"""Which accelerators this machine has, found without importing torch: a run that cannot train should not read data."""

import os
import re
import shutil
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from components.contracts.errors import ConfigError, EnvironmentFault
from components.train.settings import TrainSettings

CPU_FILE = Path("/proc/cpuinfo")
UNITS = {"bfloat16": {"avx512_bf16", "amx_bf16", "bf16"}, "float16": {"avx512_fp16", "amx_fp16", "asimdhp"}}
"""What Linux calls arithmetic for short numbers of processors by Intel and AMD, and by ARM."""
FIRST_WITH_BFLOAT16 = 8.0
"""NVIDIA's compute capability (Ampere) from which on GPUs have such units: CUDA programming guide, "Arithmetic"."""


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


def computed_in(settings: TrainSettings) -> str:
    """The precision that training takes on this machine: of `auto`, bfloat16 where hardware multiplies it."""
    if settings.precision != "auto":
        return settings.precision
    there = _gpus_multiply_bfloat16() if _on_gpus(settings) else _processor_multiplies("bfloat16")
    return "bfloat16" if there else "float32"


def precision_warning(settings: TrainSettings) -> str:
    """What to say where a CPU has to compute with numbers that it only imitates; empty elsewhere."""
    if settings.precision not in UNITS or _on_gpus(settings) or _processor_multiplies(settings.precision):
        return ""
    return (
        f"this processor only imitates {settings.precision}, which takes many times as long as float32: "
        "set train.precision=auto"
    )


def _on_gpus(settings: TrainSettings) -> bool:
    return settings.accelerator != "cpu" and bool(gpus())


def _gpus_multiply_bfloat16() -> bool:
    """Whether all of them do; a driver that does not know the question says something that is no number."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    found = [float(one) for one in re.findall(r"^\d+\.\d+$", said, re.MULTILINE)]
    return bool(found) and min(found) >= FIRST_WITH_BFLOAT16


def _processor_multiplies(precision: str) -> bool:
    with suppress(OSError):
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", CPU_FILE.read_text(), re.MULTILINE)
        return found is not None and not UNITS[precision].isdisjoint(found[1].split())
    return False


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

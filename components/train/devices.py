"""Which accelerators this machine has, found without importing torch: a run that cannot train should not read data."""

import re
import shutil
import subprocess

from components.contracts.errors import EnvironmentFault


def gpus() -> list[str]:
    """The names of the NVIDIA GPUs that the driver lists."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    listed = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=30, check=False)
    return re.findall(r"^GPU \d+: (.*?) \(", listed.stdout, re.MULTILINE)


def check_devices(accelerator: str, devices: int) -> None:
    """Raise E_DEVICE where the accelerator that was asked for is not there, or not that often."""
    if accelerator != "gpu" and devices == 1:
        return
    found = gpus()
    there = ", ".join(found) or "no GPU"
    if accelerator == "gpu" and devices > len(found):
        raise EnvironmentFault(
            "E_DEVICE",
            f"asked for {devices} GPU, there is {there}",
            place="train.accelerator" if not found else "train.devices",
            value=accelerator if not found else devices,
            allowed="auto or cpu" if not found else f"at most {len(found)}",
            action="set train.accelerator=auto" if not found else f"set train.devices={len(found)}",
        )
    if devices > 1:
        raise EnvironmentFault(
            "E_DEVICE",
            f"training runs in one process so far; there is {there}",
            place="train.devices",
            value=devices,
            allowed="1",
            action="set train.devices=1",
        )

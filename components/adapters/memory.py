"""How much memory this process may use."""

from pathlib import Path

import psutil

ROOT = Path("/sys/fs/cgroup")
LIMITS = {"": ("", "memory.max"), "memory": ("memory", "memory.limit_in_bytes")}
"""By the controllers of a line of /proc/self/cgroup: where its groups lie, and which file says their limit."""


def memory_limit(groups: Path = Path("/proc/self/cgroup"), root: Path = ROOT) -> int:
    """Bytes: what the machine has, or the least that a control group around this process allows (cgroups v1 and v2)."""
    least = int(psutil.virtual_memory().total)
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return least
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in LIMITS:
            continue
        place, name = LIMITS[controllers]
        folder = root / place
        # In a container the path may be that outside of it; the group's own folder then is the root.
        for one in (folder, *(folder.joinpath(*path.strip("/").split("/")[:depth]) for depth in range(1, 16))):
            try:
                said = (one / name).read_text().strip()
            except OSError:
                continue
            if said.isdigit():
                least = min(least, int(said))
    return least

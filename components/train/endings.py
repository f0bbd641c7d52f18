"""How a training process ended, in words, and whether to try again."""

import re
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.contracts.errors import EnvironmentFault
from components.train.entry import PREEMPTED

ERROR = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")
STARVED = re.compile(r"^(MemoryError|.*OutOfMemoryError|.*allocate memory)")
GROUPS, MEMBER = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where the kernel counts, and which group this process is of: a container sees its own as the topmost."""


@dataclass(kw_only=True)
class Ending:
    """What is known of a child that is gone."""

    code: int | None = None
    last: dict[str, Any] = field(default_factory=dict)
    step: int = -1
    rank: int | None = None
    killed: bool = False
    stuck: str = ""
    starved: bool = False
    logs: list[Path] = field(default_factory=list)

    @property
    def passing(self) -> bool:
        """Whether the same may go well another time: it was killed, stopped or stuck, not raised by code."""
        return bool(self.stuck) or self.killed or self.code is None or self.code < 0 or self.code == PREEMPTED

    @property
    def vanished(self) -> bool:
        """Whether the child itself was killed, by somebody else than its supervisor."""
        return not self.stuck and self.rank is None and (self.code is None or self.code < 0)


def kills() -> int:
    """How many processes the kernel has ended here for want of memory."""
    try:
        own = re.search(r"^(0:|\d+:memory):(/.*)$", MEMBER.read_text(), re.MULTILINE)
    except OSError:
        own = None
    below = own[2].strip("/") if own else ""
    for folder in dict.fromkeys((GROUPS / below, GROUPS / "memory" / below, GROUPS, GROUPS / "memory")):
        for name in ("memory.events", "memory.oom_control"):
            try:
                found = re.search(r"^oom_kill (\d+)", (folder / name).read_text(), re.MULTILINE)
            except OSError:
                continue
            return int(found[1]) if found else 0
    return 0


def said(ending: Ending) -> str:
    """How it ended, as the rest of a sentence."""
    if ending.stuck:
        return f"is stuck: {ending.stuck}"
    if ending.starved:
        return "was ended by the system for want of memory"
    if ending.code == PREEMPTED:
        return "was asked to stop"
    if ending.rank is not None:
        how = "was killed" if ending.killed else "failed"
        return f"ended: rank {ending.rank} {how}: {tail(_log_of(ending))}"
    return f"ended with {_code(ending.code)}: {tail(_log_of(ending))}"


def fault(ending: Ending, log: Path) -> EnvironmentFault:
    """The line for a training that does not go on."""
    starved = ending.starved or STARVED.match(tail(_log_of(ending)))
    where = _log_of(ending) if ending.logs else log
    if starved:
        return EnvironmentFault(
            "E_OUT_OF_MEMORY",
            f"the training process {said(ending)}",
            place="train.batch_size",
            action="lower train.batch_size (train.accumulate makes up for it), or give it more memory; what was "
            "trained is kept, the same command goes on",
        )
    return EnvironmentFault(
        "E_TRAINING",
        f"the training process {said(ending)}",
        place="train",
        action=f"read {where}, then run the same command again: it goes on from the newest checkpoint",
    )


def _log_of(ending: Ending) -> Path:
    at = ending.rank if ending.rank is not None and ending.rank < len(ending.logs) else 0
    return ending.logs[at] if ending.logs else Path()


def _code(code: int | None) -> str:
    return f"signal {-code} ({signal.strsignal(-code)})" if code is not None and code < 0 else f"exit code {code}"


def tail(log: Path) -> str:
    """The line of a log that names its last error, or its last line."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except (FileNotFoundError, IsADirectoryError):
        lines = []
    # The line that names the error; what follows it may be the text of a tensor.
    named = [line for line in lines if ERROR.match(line)]
    return (named or lines or ["it said nothing"])[-1]

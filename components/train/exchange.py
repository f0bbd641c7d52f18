"""Means of gradients between processes of one machine without a GPU, through memory that they share. Imports torch.

gloo sends them over sockets, by threads that have to be woken while every core trains. Here a process writes its own
gradients into its area, says so by a number that all see, and adds up all areas in the order of the ranks: every
process has the same bits. It takes 7 % of a step away for two processes and a small convolutional network.
"""

import mmap
import os
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, distributed
from torch.futures import Future

from components.train.pulse import beats
from components.train.ranks import GRACE_SECONDS, Ranks, gathered

AREA = 2**20
"""Bytes of one process and turn; what is longer goes in several turns."""
APART = 8
"""Numbers from one process's count to the next one's: a line of the processor's cache."""
MOST = 4
"""Of so many processes at most each adds up everything: gloo divides that among them."""
BUSY_SECONDS = 0.001
NAP_SECONDS = 0.00005
LOOK_SECONDS = 0.2
ORDERED = {"x86_64", "AMD64"}
"""Processors that let others see what was written in the order in which it was written."""


def fits(ranks: Ranks) -> bool:
    """Whether these processes, without a GPU, can share memory."""
    return ranks.nodes == 1 and 1 < ranks.world <= MOST and platform.machine() in ORDERED


class Exchange(Callback):
    """Gives gradients to the other processes; `pulse` is where they say that they live (pulse.py)."""

    def __init__(self, ranks: Ranks, pulse: Path, timeout_seconds: float) -> None:
        self._ranks, self._pulse, self._timeout = ranks, pulse, timeout_seconds + GRACE_SECONDS
        self._turn = 0
        self._counts = memoryview(b"").cast("q")
        self._areas = torch.empty(0)

    def on_train_start(self, trainer: Any, _: Any) -> None:
        """Take the place of gloo for gradients, where every process can open the memory."""
        if self.meet():
            trainer.strategy.model.register_comm_hook(self, averaged)

    def meet(self) -> bool:
        """Open the first process's memory; whether all could."""
        head, world = mmap.PAGESIZE, self._ranks.world
        size = head + 2 * world * AREA
        # Without a name it is gone with the last of its processes, however they went.
        own = os.memfd_create("millrace-gradients") if self._ranks.rank == 0 else -1
        try:
            if own >= 0:
                os.ftruncate(own, size)
            place = gathered(self._ranks, {"place": f"/proc/{os.getpid()}/fd/{own}"})[0]["place"]
            shared = None
            with suppress(OSError), open(place, "r+b") as file:  # noqa: PTH123 - a path that is a file of no folder
                shared = mmap.mmap(file.fileno(), size)
            if not all(one["open"] for one in gathered(self._ranks, {"open": shared is not None})) or shared is None:
                return False
        finally:
            if own >= 0:
                os.close(own)
        self._counts = memoryview(shared)[: world * APART * 8].cast("q")
        self._areas = torch.frombuffer(shared, dtype=torch.uint8, offset=head).view(2, world, AREA)
        return True

    def average(self, values: Tensor) -> None:
        """Put the mean of all processes into `values`, flat ones of any kind of number, in place.

        Raises:
            ConnectionError: a process is gone.
            TimeoutError: a process does not come.
        """
        for part in torch.split(values, AREA // values.element_size()):
            self._turn += 1
            # Who writes the next turn but one knows that everybody has read this one: they have said the one between.
            areas = self._areas[self._turn % 2].view(values.dtype)[:, : len(part)]
            areas[self._ranks.rank].copy_(part)
            self._counts[self._ranks.rank * APART] = self._turn
            self._wait()
            torch.add(areas[0], areas[1], out=part)
            for one in areas[2:]:
                part.add_(one)
            part.div_(len(areas))

    def _wait(self) -> None:
        """Until every process has said this turn."""
        began = looked = 0.0
        while late := [one for one in range(self._ranks.world) if self._counts[one * APART] < self._turn]:
            now = time.monotonic()
            began, looked = began or now, looked or now
            time.sleep(0 if now - began < BUSY_SECONDS else NAP_SECONDS)
            if now - looked < LOOK_SECONDS:
                continue
            looked = now
            said = beats(self._pulse)
            for one in late:
                if not said[one].alive:
                    raise ConnectionError(f"Connection closed by peer: rank {one} is gone")
            if now - began > self._timeout:
                raise TimeoutError(f"rank {late[0]} did not give its gradients within {self._timeout:.0f} s")


def averaged(
    exchange: Exchange,
    bucket: distributed.GradBucket,  # type: ignore[name-defined] # torch looks at it, and does not export it
) -> Future[Tensor]:
    """Gradients that DistributedDataParallel has ready, as it wants to have them back."""
    values = bucket.buffer()
    exchange.average(values)
    done: Future[Tensor] = Future()
    done.set_result(values)
    return done

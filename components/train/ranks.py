"""The processes that train together, and what they tell each other. Imports torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

GRACE_SECONDS = 15.0
"""The supervisor is the first to notice a process that is stuck; the others wait so much longer for it."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among all: `rank` of `world`, `local` of those on this machine, on `nodes` machines."""

    rank: int = 0
    world: int = 1
    local: int = 0
    here: int = 1
    nodes: int = 1


def ranks_of(environment: Mapping[str, str]) -> Ranks:
    """What torchrun says in a process that it started."""
    said = {name: int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    here = said["LOCAL_WORLD_SIZE"]
    nodes = said["WORLD_SIZE"] // here
    return Ranks(rank=said["RANK"], world=said["WORLD_SIZE"], local=said["LOCAL_RANK"], here=here, nodes=nodes)


def join(ranks: Ranks, *, gpu: bool, timeout_seconds: float) -> None:
    """Meet the others; who waits for one longer than that raises."""
    if ranks.world == 1:
        return
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks.here))
    if gpu:
        torch.cuda.set_device(ranks.local)
    distributed.init_process_group(
        "nccl" if gpu else "gloo", timeout=timedelta(seconds=timeout_seconds + GRACE_SECONDS)
    )


def agreed(ranks: Ranks, values: tuple[Any, ...], device: torch.device) -> list[int]:
    """The largest that any rank has of each value; as many numbers at the same time on every rank.

    An interval that is only the first rank's to say is 0 elsewhere.
    """
    mine = [int(one) for one in values]
    if ranks.world == 1:
        return mine
    if ranks.rank:
        mine[-1] = 0
    said = torch.tensor(mine, device=device)
    distributed.all_reduce(said, distributed.ReduceOp.MAX)
    return [int(one) for one in said.tolist()]


def gathered(ranks: Ranks, mine: dict[str, Any]) -> list[dict[str, Any]]:
    """What each rank has, in their order."""
    if ranks.world == 1:
        return [mine]
    found: list[Any] = [None] * ranks.world
    distributed.all_gather_object(found, mine)
    return found


def newest_of_all(ranks: Ranks, checkpoints: Any, wants: Mapping[str, Any], warn: Any) -> Any:
    """The newest checkpoint that every machine has; None where there is none such."""
    found = checkpoints.newest(wants, warn)
    if ranks.nodes == 1:
        return found[1] if found else None
    steps = [set(one["steps"]) for one in gathered(ranks, {"steps": checkpoints.steps()})]
    common = sorted(set.intersection(*steps), reverse=True)
    while True:
        mine = checkpoints.newest(wants, warn, only=common)
        said = {one["step"] for one in gathered(ranks, {"step": mine[0] if mine else -1})}
        if len(said) == 1:
            return mine[1] if mine else None
        # One of somebody's is damaged.
        common = [one for one in common if one <= min(said)]

"""A network of which each process holds a share (torch's fully_shard), and its state as if one held it all."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

LARGE = 100_000
"""Weights from which a block of layers is put together, and taken apart again, on its own."""


def shard(network: nn.Module, mesh: Any) -> None:
    """Divide the weights among the processes of `mesh`: blocks of a list of layers one by one, then the rest."""
    # Only weights that lie in the usual order can be divided.
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # the stub lacks it
    lists = [one for one in network.modules() if isinstance(one, nn.ModuleList)]
    for block in [block for one in reversed(lists) for block in one]:
        if sum(one.numel() for one in block.parameters()) >= LARGE:
            fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def whole(value: Any) -> Any:
    """All of a tensor of which this process holds a share; every process has to ask. Anything else is as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def optimizer_state(optimizer: Any) -> dict[str, Any]:
    """Its state, whole."""
    found = optimizer.state_dict()
    states = {number: {name: whole(one) for name, one in state.items()} for number, state in found["state"].items()}
    return {**found, "state": states}


def take_state(optimizer: Any, given: dict[str, Any]) -> None:
    """Take up a whole state; of each tensor the share that this process holds of its weight."""
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    states = {
        number: {name: _shared(one, parameters[number]) for name, one in state.items()}
        for number, state in given["state"].items()
    }
    optimizer.load_state_dict({**given, "state": states})


def _shared(value: Any, parameter: Tensor) -> Any:
    if isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape:
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value

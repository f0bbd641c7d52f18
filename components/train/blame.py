"""Where numbers that are none came from: a feature, or a layer of the network. Imports torch."""

from collections.abc import Mapping
from traceback import walk_tb
from typing import Any

import torch
from torch import Tensor, nn

from components.contracts.errors import ConfigError, DataError, MillraceError
from components.train.entry import own_lines


def blamed(network: nn.Module, inputs: Mapping[str, Tensor], epoch: int) -> MillraceError:
    """The line for a loss that is no number in `epoch`, after the network saw `inputs` last."""
    for name, values in inputs.items():
        if values.is_floating_point() and not values.isfinite().all():
            return DataError(
                "E_VALUE",
                f"a feature gives numbers that are none in epoch {epoch}",
                place=f"features.{name}",
                action="look for infinite or huge numbers in its columns (checks: minimum, maximum)",
            )
    layer = _first_wrong(network, inputs)
    return ConfigError(
        "E_TRAINING",
        f"the loss is no longer a number in epoch {epoch}" + (f"; the first such layer is {layer}" if layer else ""),
        place="train.learning_rate",
        action="lower train.learning_rate, or set train.clip: 1",
    )


def refused(error: Exception, modules: set[str], network: nn.Module, inputs: Mapping[str, Any]) -> ConfigError:
    """The line for a network of the user's own `modules` that raised `error` when it saw `inputs`, with its layer."""
    names = {id(one): name for name, one in network.named_modules() if name}
    layers = [frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__)]
    within = [one for one in layers if id(one) in names]
    where = f" in layer {names[id(within[-1])]} ({type(within[-1]).__name__})" if within else ""
    shapes = [f"{name}: {list(one.shape)}" for name, one in inputs.items() if isinstance(one, Tensor)]
    return ConfigError(
        "E_CUSTOM",
        f"the model's own network raised {type(error).__name__}{where}: {' '.join(str(error).split())}",
        place=["model", *own_lines(error, modules)][-1],
        value=", ".join(shapes) or None,
        action="correct it",
    )


def _first_wrong(network: nn.Module, inputs: Mapping[str, Tensor]) -> str:
    """The name of the first layer, in the order of work, that makes numbers which are none; "" where none does."""
    found: list[str] = []

    def look(name: str) -> Any:
        def hook(_: nn.Module, __: Any, outputs: Any) -> None:
            tensors = [outputs] if isinstance(outputs, Tensor) else []
            tensors += [one for one in outputs if isinstance(one, Tensor)] if isinstance(outputs, tuple) else []
            if not found and any(not one.isfinite().all() for one in tensors):
                found.append(name)

        return hook

    leaves = [(name, one) for name, one in network.named_modules() if name and not list(one.children())]
    hooks = [one.register_forward_hook(look(name)) for name, one in leaves]
    try:
        with torch.no_grad():
            network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""

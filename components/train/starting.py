"""The child's side of pretrained weights (pretrained.py). Imports torch."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from components.contracts.errors import ConfigError

MOST_SHOWN = 12


def take_over(network: nn.Module, path: Path, parts: Iterable[str]) -> int:
    """Put the weights of the file in place of the network's own; how many.

    Raises:
        ConfigError: E_CONFIG, none fits, or none of one of the `parts`.
    """
    try:
        given = load_file(path)
    except SafetensorError as error:
        raise ConfigError(
            "E_CONFIG",
            f"it cannot be read as safetensors ({error})",
            place="train.pretrained.weights",
            value=path.name,
            allowed="a .safetensors file",
            action="convert it, or name another",
        ) from error
    own = network.state_dict()
    fit = {name: one for name, one in given.items() if name in own and own[name].shape == one.shape}
    wanted = tuple(parts)
    taken = {name: one for name, one in fit.items() if not wanted or name.startswith(wanted)}
    lacking = [part for part in wanted if not any(name.startswith(part) for name in fit)]
    if not taken or lacking:
        shown = [f"{name}{list(one.shape)}" for name, one in given.items()]
        raise ConfigError(
            "E_CONFIG",
            "no weights of that name have the shape that the model has",
            place="train.pretrained.parts",
            value=lacking[0] if lacking else ", ".join(wanted) or "all",
            allowed=", ".join(fit) or f"none; the file has {', '.join(shown[:MOST_SHOWN])}",
            action="name others, or make the model's layers like those of the file",
        )
    network.load_state_dict({**own, **taken})
    return len(taken)


def groups(network: nn.Module, rates: Mapping[str, float], peak: float, part: str = "") -> list[dict[str, Any]]:
    """The network's parameters by their step size, for an optimiser; only those whose names begin with `part`.

    Raises:
        ConfigError: E_CONFIG, no parameter has such a name.
    """
    _check_names(network, rates, "rates")
    by_rate: dict[float, list[nn.Parameter]] = {}
    for name, one in network.named_parameters():
        if not name.startswith(part):
            continue
        longest = max((part for part in rates if name.startswith(part)), key=len, default="")
        by_rate.setdefault(rates.get(longest, 1.0), []).append(one)
    return [{"params": members, "lr": peak * rate} for rate, members in by_rate.items()]


def thaw(network: nn.Module, freeze: Mapping[str, int], epoch: int) -> None:
    """Let learn in `epoch` (from 0) what is no longer frozen; layers that are frozen whole behave as when serving.

    Raises:
        ConfigError: E_CONFIG, no parameter has such a name.
    """
    _check_names(network, freeze, "freeze")
    for name, one in network.named_parameters():
        one.requires_grad_(all(epoch >= epochs for part, epochs in freeze.items() if name.startswith(part)))
    network.train()
    for module in network.modules():
        own = list(module.parameters())
        if own and not any(one.requires_grad for one in own):
            module.eval()


def _check_names(network: nn.Module, parts: Iterable[str], place: str) -> None:
    names = [name for name, _ in network.named_parameters()]
    lacking = [part for part in parts if not any(name.startswith(part) for name in names)]
    if lacking:
        raise ConfigError(
            "E_CONFIG",
            "no weights of the model have such a name",
            place=f"train.pretrained.{place}",
            value=lacking[0],
            allowed=", ".join(names[:MOST_SHOWN]),
            action="name a beginning of one of these",
        )

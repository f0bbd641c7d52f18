"""Optimisers and schedules of the settings. Imports torch."""

from typing import Any

import torch
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

TINY = 1e-9
FALL = 0.1
"""What the schedule plateau leaves of the step size."""


def optimizer_of(weights: list[dict[str, Any]], settings: dict[str, Any], betas: tuple[float, float]) -> Any:
    """The optimiser of groups of parameters; all of a group's are updated in one call where they are plain numbers."""
    peak, decay = settings["learning_rate"], settings["weight_decay"]
    fused = all(one.is_floating_point() for group in weights for one in group["params"])
    if settings["optimizer"] == "sgd":
        momentum = settings["momentum"]
        return torch.optim.SGD(
            weights, peak, momentum=momentum, weight_decay=decay, nesterov=momentum > 0, fused=fused or None
        )
    kind = torch.optim.AdamW if settings["optimizer"] == "adamw" else torch.optim.Adam
    return kind(weights, peak, betas, weight_decay=decay, fused=fused or None)


def schedule_of(optimizer: Any, settings: dict[str, Any], steps: int, *, players: bool, more_is_better: bool) -> Any:
    """The schedule over so many steps; None where the step size is constant."""
    name = settings["schedule"]
    if name == "constant":
        return None
    if name == "plateau":
        mode: Any = "max" if more_is_better else "min"
        return ReduceLROnPlateau(optimizer, mode, factor=FALL, patience=settings["plateau"] - 1, threshold=0.0, eps=0.0)
    momentum = settings["optimizer"] != "sgd" or settings["momentum"] > 0
    return OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        total_steps=steps,
        pct_start=_rise(settings["warm_up"], steps),
        # Players have momenta of their own.
        cycle_momentum=name == "one-cycle" and not players and momentum,
    )


def _rise(share: float, steps: int) -> float:
    """The share of the steps in which the step size rises; one over exactly one step would be divided by zero."""
    return share * 1.000001 if abs(share * steps - 1) < TINY else share

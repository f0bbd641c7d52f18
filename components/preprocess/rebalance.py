"""Rare classes made to count as much as others, in training only; figures come from the training part."""

from typing import Any, Literal

from components.contracts.errors import ConfigError

Rebalance = Literal["none", "weights", "over", "under"]
"""weights: a row's loss counts by the rarity of its class. over: rows of rare classes come more often in an epoch, up
to the commonest. under: rows of common classes come less often, down to the rarest."""


def balanced(how: Rebalance, state: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """How often an epoch has a row of each class, and what its loss counts (1 on average over the rows).

    Raises:
        ConfigError: E_CONFIG, the target has no classes.
    """
    if how == "none":
        return (), ()
    if "counts" not in state:
        raise ConfigError(
            "E_CONFIG",
            "only classes can be rebalanced",
            place="rebalance",
            value=how,
            allowed="none",
            action="name a label as target, or leave it out",
        )
    counts = state["counts"]
    if how == "weights":
        return (), tuple(sum(counts) / (len(counts) * count) for count in counts)
    goal = max(counts) if how == "over" else min(counts)
    return tuple(goal / count for count in counts), ()

"""The scale that numbers are brought to, once they are standardised."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.statistics.quantiles import Summary, quantile

Scale = Literal["standard", "min-max", "quantile", "none"]
CUTS = 101
"""Quantiles that the scale of shares is read from: every hundredth."""


def fitted(
    scale: Scale, summaries: Sequence[Summary], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> dict[str, Any]:
    """What the scale needs of the training rows, in deviations from the mean; per column."""
    if scale not in {"min-max", "quantile"}:
        return {}
    shares = np.linspace(0, 1, 2 if scale == "min-max" else CUTS)
    points = np.array([[quantile(one, share) for share in shares] for one in summaries])
    # A column without a number has no quantiles, and every cell of it is filled by the same.
    return {"points": np.nan_to_num((points - mean[:, None]) / deviation[:, None]).tolist()}


def scaled(scale: Scale, standard: Any, state: dict[str, Any]) -> Any:
    """float32[rows, columns] in deviations from the mean, on the scale."""
    import torch

    def of(name: str) -> Any:
        return torch.tensor(state[name], dtype=torch.float32, device=standard.device)

    if scale == "standard":
        return standard
    if scale == "none":
        return standard * of("scale") + of("mean")
    points = of("points")
    if scale == "min-max":
        low, high = points[:, 0], points[:, 1]
        return (standard - low) / torch.where(high > low, high - low, 1.0)
    # Of equal quantiles the middle counts.
    cells = standard.T.contiguous()
    below = torch.searchsorted(points, cells, right=False)
    until = torch.searchsorted(points, cells, right=True)
    low = (below - 1).clamp(0, CUTS - 2)
    left, right = points.gather(1, low), points.gather(1, low + 1)
    between = low + ((cells - left) / torch.where(right > left, right - left, 1.0)).clamp(0, 1)
    return (torch.where(until > below, (below + until - 1) / 2, between) / (CUTS - 1)).T.contiguous()

"""What stands for a missing number, learned from the training part, applied to a batch on its device.

`model` predicts a column from the others of the same feature by a ridge regression that follows from their pairwise
covariances: state that merges over partitions and is one matrix at serving.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-3
"""Added to the (unit) variances, so that columns that say the same do not cancel each other."""
MOST_VALUES = 100_000
"""Distinct values that are counted for the mode; of more, the commonest of each part."""

Values = NDArray[np.float64]


def partial_of(strategy: str, values: Values) -> dict[str, Any]:
    """Of one partition's training rows, float64[rows, columns] with NaN; for medians there are quantiles."""
    if strategy == "mode":
        return {"values": [_counted(column) for column in values.T]}
    if strategy == "model":
        present = ~np.isnan(values)
        filled, mask = np.where(present, values, 0), present.astype(np.float64)
        # Over the rows in which both are present: how many, the sums of the one, of the products, of its square.
        return {
            "pairs": (mask.T @ mask).tolist(),
            "sums": (filled.T @ mask).tolist(),
            "products": (filled.T @ filled).tolist(),
            "squares": ((filled**2).T @ mask).tolist(),
        }
    return {}


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two partial states as one."""
    if "values" in first:
        pairs = zip(first["values"], second["values"], strict=True)
        return {
            "values": [
                _most({key: one.get(key, 0) + other.get(key, 0) for key in {*one, *other}}) for one, other in pairs
            ]
        }
    return {name: np.add(first[name], second[name]).tolist() for name in first}


def fill_of(partial: dict[str, Any], medians: Values | None, mean: Values, scale: Values) -> dict[str, Any]:
    """The state: `fill` (standardised, one a column) or `predict` (the matrix for standardised columns)."""
    if medians is not None:
        return {"fill": np.nan_to_num((medians - mean) / scale).tolist()}
    if "values" in partial:
        modes = [float(min(one, key=lambda key: (-one[key], float(key)), default="nan")) for one in partial["values"]]
        return {"fill": np.nan_to_num((np.array(modes) - mean) / scale).tolist()}
    if "pairs" in partial:
        return {"predict": _regressions(partial).tolist()}
    return {}


def _regressions(partial: dict[str, Any]) -> Values:
    """matrix[other, column]: what each other column adds to the prediction of a column."""
    pairs, sums, products, squares = (np.array(partial[name]) for name in ("pairs", "sums", "products", "squares"))
    rows = np.maximum(pairs, 1)
    # Everything over the rows that have both; without such rows, or variance in them, no relation is assumed.
    covariance = products / rows - sums / rows * (sums.T / rows)
    variance = np.maximum(squares / rows - (sums / rows) ** 2, 0)
    spread = np.sqrt(variance * variance.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.clip(np.where((pairs > 2) & (spread > 0), covariance / spread, 0.0), -1, 1)
    width = len(pairs)
    weights = np.zeros((width, width))
    for column in range(width):
        others = [at for at in range(width) if at != column]
        if others:
            square = correlation[np.ix_(others, others)] + RIDGE * np.eye(len(others))
            weights[others, column] = np.linalg.lstsq(square, correlation[others, column], rcond=None)[0]
    return weights


def _counted(column: Values) -> dict[str, int]:
    values, counts = np.unique(column[~np.isnan(column)], return_counts=True)
    return _most({repr(float(value)): int(count) for value, count in zip(values, counts, strict=True)})


def _most(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda one: (-one[1], float(one[0])))[:MOST_VALUES])


def filled(standard: Any, missing: Any, state: dict[str, Any]) -> Any:
    """A standardised batch (a tensor) with something in the place of what is missing."""
    import torch

    zeros = torch.where(missing, 0.0, standard)
    if "predict" in state:
        matrix = torch.tensor(state["predict"], dtype=torch.float32, device=standard.device)
        # One column after the other: a product of matrices rounds otherwise for few rows than for many.
        predicted = torch.zeros_like(zeros)
        for other, weights in enumerate(matrix):
            predicted = predicted + zeros[:, other, None] * weights
        return torch.where(missing, predicted, standard)
    if "fill" in state:
        return torch.where(missing, torch.tensor(state["fill"], dtype=torch.float32, device=standard.device), standard)
    return zeros

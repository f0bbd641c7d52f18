"""What the network's numbers say on a device, by the kind of what was learnt; in numpy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _classes(said: dict[str, Any], outputs: NDArray[np.float32], groups: Sequence[str]) -> list[dict[str, Any]]:
    raised = outputs.astype(np.float64) / said["decision"]["temperature"]
    raised = np.exp(raised - raised.max(1, keepdims=True))
    probabilities, bounds = raised / raised.sum(1, keepdims=True), said["decision"]["thresholds"]
    chosen = probabilities.argmax(1)
    if bounds:
        least = np.array([bounds.get(group, bounds[""]) for group in groups])
        chosen = (probabilities[:, 1] >= least).astype(np.int64)
    names = [int(one) for one in said["classes"]] if said["whole"] else said["classes"]
    return [
        {"prediction": names[at], "confidence": float(row[at]), "probabilities": row.tolist()}
        for at, row in zip(chosen, probabilities, strict=True)
    ]


def _labels(said: dict[str, Any], outputs: NDArray[np.float32], _: Sequence[str]) -> list[dict[str, Any]]:
    probabilities = 1 / (1 + np.exp(-outputs.astype(np.float64)))
    return [
        {
            "prediction": [
                name for name, one in zip(said["classes"], row, strict=True) if one >= said["objective"]["threshold"]
            ],
            "probabilities": row.tolist(),
        }
        for row in probabilities
    ]


def _numbers(said: dict[str, Any], outputs: NDArray[np.float32], _: Sequence[str]) -> list[dict[str, Any]]:
    found, names = outputs.astype(np.float64), ["prediction"]
    if found.ndim == 3:
        # Of quantiles; what is learnt apart may cross.
        found, names = np.sort(found, axis=-1), ["low", "prediction", "high"]
    else:
        found = found[..., None]
    found = found * np.array(said["state"]["scale"])[:, None] + np.array(said["state"]["centre"])[:, None]
    if said["target"]["log"]:
        found = np.sign(found) * np.expm1(np.abs(found))
    single = found.shape[1] == 1 and not said["target"]["steps"]
    return [
        {name: float(row[0, at]) if single else row[:, at].tolist() for at, name in enumerate(names)} for row in found
    ]


DECODE = {"classification": _classes, "multi-label": _labels, "regression": _numbers}
"""By the kind of an objective."""

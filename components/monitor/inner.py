"""What a network makes of rows, before its last layer: where pictures, texts and sounds can be compared."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BATCH = 256
PLAIN = frozenset({"number", "category", "boolean", "bins", "datetime"})
"""Features whose columns are compared as they are."""


def is_asked(predictor: Any) -> bool:
    """Whether a feature reads what cannot be compared cell by cell."""
    return any(getattr(one, "kind", "") not in PLAIN for one in predictor.features)


def made_of(predictor: Any, rows: pa.Table) -> NDArray[np.float32] | None:
    """float32[rows, width]: what the last linear layer is given, of sequences the mean over places.

    Of a network without such a layer it is what it gives.
    """
    import torch

    given: list[Any] = []
    hooks = [
        one.register_forward_pre_hook(lambda _, inputs: given.__setitem__(slice(None), [inputs[0]]))
        for one in predictor.network.modules()
        if isinstance(one, torch.nn.Linear)
    ]
    found = []
    try:
        with torch.inference_mode():
            for start in range(0, rows.num_rows, BATCH):
                given.clear()
                outputs = predictor.network(predictor.tensors(rows.slice(start, BATCH)))
                values = given[0] if given else next(iter(outputs.values()))
                size = min(BATCH, rows.num_rows - start)
                if values.shape[0] != size:
                    return None
                while values.dim() > 2:
                    values = values.mean(1)
                found.append(np.asarray(values.reshape(size, -1).float().cpu().numpy()))
    finally:
        for one in hooks:
            one.remove()
    return np.concatenate(found) if found else None

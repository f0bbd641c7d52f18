"""A graph with fewer bits, and a network with fewer weights.

Dynamic: weights as int8, activations turned into 8 bits batch by batch; for layers of matrices and LSTMs. Static: both
as int8 by ranges seen on training rows; for convolutions too. Weights take 7 of their 8 bits: a CPU without VNNI adds
two products in 16 bits, and whole bytes would run over (a CIFAR-10 network lost 0.03 of its accuracy by that).

Pruning sets the weights of least magnitude to zero, over all matrices together (Han 2015): zeros take no room where a
file is packed, and no less time.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.exports.graph import Arrays

Quantise = Literal["none", "dynamic", "static"]
BATCH = 64
"""Rows of a calibration batch."""


def quantised(source: Path, target: Path, how: Quantise, rows: Sequence[Arrays] = ()) -> None:
    """Write `source` (ONNX) with int8 weights to `target`; static needs `rows` of the training part to calibrate by."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        """The calibration batches, one after the other."""

        def __init__(self) -> None:
            self._left = iter(rows)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            """The next one, None at the end."""
            found = next(self._left, None)
            return dict(found) if found is not None else None

    ready = target.with_suffix(".ready.onnx")
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        # Noted shapes would be taken for contradictions.
        quant_pre_process(source, ready, skip_symbolic_shape=True, skip_onnx_shape=True)
        if how == "dynamic":
            quantize_dynamic(ready, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
        else:
            quantize_static(
                ready,
                target,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
    finally:
        logging.getLogger().setLevel(level)
        ready.unlink(missing_ok=True)


def prune(network: Any, share: float) -> None:
    """Set this share of all weights of the network's matrices and kernels, the smallest ones, to zero."""
    import torch

    weights = [one for one in network.parameters() if one.ndim > 1]
    sizes = torch.cat([one.detach().abs().flatten() for one in weights]).numpy()
    # torch's own quantile takes 16 million numbers at most.
    first_kept = int(share * len(sizes))
    bound = float(np.partition(sizes, first_kept)[first_kept])
    with torch.no_grad():
        for one in weights:
            one.mul_(one.abs() >= bound)

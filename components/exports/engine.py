"""ONNX Runtime in the place of a package's network: the same rows in, the same answers out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.contracts.errors import ConfigError
from components.exports.graph import Arrays, is_ready, stored

NEEDS_INPUTS = frozenset({"reconstruction", "adversarial", "language-model", "word-embedding"})
"""Objectives whose answers compare what the network gives with what it was given."""
Outputs = Callable[[Arrays], dict[str, NDArray[Any]]]


class Engine:
    """A graph that answers for a predictor, whose cleaning, features and decoding it keeps."""

    def __init__(self, predictor: Any, path: Path, *, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        # Threads that wait in a loop for the next request would take the cores from those who bring it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]
        self._predictor = predictor

    def outputs(self, given: Arrays) -> dict[str, NDArray[Any]]:
        """What the graph gives for arrays as `stored` gives them."""
        found = self._session.run(self._outputs, {name: given[name] for name in self._inputs})
        return dict(zip(self._outputs, found, strict=True))

    def predict(self, rows: pa.Table) -> Any:
        """What the predictor's own `predict` gives for raw rows."""
        return self._predictor.predict(rows, self._batch)

    def predict_matrix(self, cells: NDArray[np.float64]) -> Any:
        """What the predictor's own `predict_matrix` gives."""
        return self._predictor.predict_matrix(cells, lambda given: _tensors(self.outputs(given)))

    def _batch(self, cleaned: pa.Table) -> Any:
        return answers(self._predictor, self.outputs(stored(self._predictor, cleaned)), cleaned)


def answers(predictor: Any, outputs: Arrays, cleaned: pa.Table) -> Any:
    """What outputs say of cleaned rows."""
    return predictor.decoded(_tensors(outputs), {}, cleaned)


def _tensors(outputs: Arrays) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(one) for name, one in outputs.items()}


def of_network(predictor: Any) -> Outputs:
    """What a graph of the predictor's own network would give."""
    import torch

    def outputs(given: Arrays) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            inputs = {}
            for feature, known in zip(predictor.features, predictor.fitted, strict=True):
                values = torch.from_numpy(given[feature.name])
                ready = is_ready(feature, known.state)
                inputs[feature.name] = values if ready else feature.apply(values, known.state)
            return {name: one.numpy() for name, one in predictor.network(inputs).items()}

    return outputs


def check_engine(predictor: Any) -> None:
    """Raise E_CONFIG where a graph alone does not give the answers."""
    kind = predictor.objective.kind
    if kind in NEEDS_INPUTS or not hasattr(predictor, "decoded"):
        old = not hasattr(predictor, "decoded")
        raise ConfigError(
            "E_CONFIG",
            "the package is of an earlier release" if old else "answers of this kind are not the network's alone",
            place="package" if old else "objective.kind",
            value=predictor.split.get("seed", "") if old else kind,
            action="run its recipe again" if old else "use torch, and leave `compress` out",
        )

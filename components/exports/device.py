"""A model on a device: rows as dictionaries in, answers as dictionaries out, with numpy and onnxruntime and no more.

Its folder holds model.onnx and device.json beside this code. Cells are Python's numbers, texts and truths, numpy arrays
of pixels (height, width, channels), pairs of samples and their rate, lists of numbers; a missing one is None. Encoded
files are decoded where Pillow or soundfile is installed.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from components.exports.device_cells import cleaned, readable
from components.exports.device_inputs import INPUTS

Row = Mapping[str, Any]


class Device:
    """A loaded bundle."""

    def __init__(self, folder: Path, *, threads: int = 0) -> None:
        self.said: dict[str, Any] = json.loads((folder / "device.json").read_bytes())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [one.name for one in self._session.get_inputs()]

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """The answers to some rows, in their order.

        Raises:
            ValueError: A row misses what the model needs; which, and why.
        """
        if not rows:
            return []
        cells: dict[str, Sequence[Any]] = {
            one["name"]: readable(one, [row.get(one["name"]) for row in rows]) for one in self.said["columns"]
        }
        cells = cleaned(self.said["operations"], cells)
        groups = self._groups(cells, len(rows))
        given = {
            one["config"]["name"]: INPUTS[one["kind"]](one["config"], one["state"], cells)
            for one in self.said["features"]
        }
        (outputs, *_) = self._session.run(None, {name: given[name] for name in self._inputs})
        found: list[dict[str, Any]] = DECODE[self.said["objective"]["kind"]](self.said, outputs, groups)
        return found

    def _groups(self, cells: Mapping[str, Sequence[Any]], rows: int) -> list[str]:
        """Of each row, whose threshold is asked for."""
        columns = [cells[name] for name in self.said["decision"]["columns"]]
        return [", ".join(map(_told, row)) for row in zip(*columns, strict=True)] if columns else [""] * rows


def _told(cell: Any) -> str:
    return "missing" if cell is None else str(cell)


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
"""What the network's numbers say, by the kind of its objective."""


def main() -> None:
    """`python predict.py ROWS.json`: a JSON list of rows in, a JSON list of answers out."""
    rows = json.loads(Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else sys.stdin.read())
    try:
        answers = Device(Path(sys.argv[0]).resolve().parent).predict(rows)
    except ValueError as error:
        sys.exit(f"predict: {error}")
    sys.stdout.write(json.dumps(answers) + "\n")

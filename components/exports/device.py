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

import onnxruntime

from components.exports.device_answers import DECODE
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


def main() -> None:
    """`python predict.py ROWS.json`: a JSON list of rows in, a JSON list of answers out."""
    rows = json.loads(Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else sys.stdin.read())
    try:
        answers = Device(Path(sys.argv[0]).resolve().parent).predict(rows)
    except ValueError as error:
        sys.exit(f"predict: {error}")
    sys.stdout.write(json.dumps(answers) + "\n")

"""What a version of a network costs: time in this process, memory in one of its own."""

import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts.closure import ROOT
from components.exports.graph import Arrays

WARM, SINGLE, MANY = 5, 100, 5
RESIDENT = """
import io, sys
import numpy as np
given = dict(np.load(io.BytesIO(sys.stdin.buffer.read())))
"""
GRAPH = """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {one.name: given[one.name] for one in session.get_inputs()})
"""
PACKAGE = """
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from components.packages import open_package
from components.exports.engine import of_network
of_network(open_package(Path(sys.argv[1])))(given)
"""
SAID = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("RssAnon")))
"""


def speed(outputs: Callable[[Any], Any], given: Arrays) -> tuple[float, float]:
    """Milliseconds of one row (the median), and rows a second of all at once."""
    rows = len(next(iter(given.values())))
    singles = [{name: one[at % rows : at % rows + 1] for name, one in given.items()} for at in range(SINGLE)]
    for one in singles[:WARM]:
        outputs(one)
    times = [_timed(outputs, one) for one in singles]
    many = min(_timed(outputs, given) for _ in range(MANY))
    return round(float(np.median(times)) * 1000, 4), round(rows / many, 1)


def footprint(path: Path, given: Arrays) -> float:
    """Megabytes that a process holds of its own when it has answered: of a graph, or of a package (a folder)."""
    body = io.BytesIO()
    np.savez(body, **dict(given))  # type: ignore[arg-type]
    code = RESIDENT + (PACKAGE if path.is_dir() else GRAPH) + SAID
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(ROOT)], input=body.getvalue(), capture_output=True, check=True
    )
    return round(int(done.stdout.split()[-1]) / 1024, 1)


def _timed(outputs: Callable[[Any], Any], given: Any) -> float:
    began = time.perf_counter()
    outputs(given)
    return time.perf_counter() - began

"""How long a package takes to answer, in this process and on this machine."""

import time
from typing import Any

import numpy as np
import pyarrow as pa

from components.contracts.findings import Cost

WARM, SINGLE, ROWS, SECONDS = 3, 50, 1024, 1.0
"""Answers that are not counted; single rows that are; rows at once; and how long single rows are asked for at most."""


def cost_of(predictor: Any, rows: pa.Table, size_bytes: int) -> Cost:
    """Milliseconds for one raw row, from the request on, and rows a second of many at once."""
    for row in range(WARM):
        predictor.predict(rows.slice(row % rows.num_rows, 1))
    times: list[float] = []
    while len(times) < SINGLE and sum(times) < SECONDS:
        began = time.perf_counter()
        predictor.predict(rows.slice(len(times) % rows.num_rows, 1))
        times.append(time.perf_counter() - began)
    many = rows.slice(0, ROWS)
    began = time.perf_counter()
    predictor.predict(many)
    middle, late = np.percentile(times, [50, 95]) * 1000
    return Cost(
        latency_ms=round(float(middle), 3),
        latency_ms_95=round(float(late), 3),
        rows_a_second=round(many.num_rows / (time.perf_counter() - began), 1),
        size_bytes=size_bytes,
    )

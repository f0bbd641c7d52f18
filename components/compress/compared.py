"""A package and its smaller versions, asked the same test rows; and what each of them costs."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.context import RunContext
from components.contracts.artifacts import Dataset
from components.contracts.errors import DataError, IntegrityError
from components.contracts.findings import Shrunk
from components.contracts.spec import OWN_COLUMNS
from components.exports.bundle import pack
from components.exports.engine import Engine, answers, of_network
from components.exports.graph import stored
from components.exports.measured import footprint, speed
from components.packages import PARTS, own_errors
from components.raw_rows import accepted, rows_of, truth_of
from components.tally import Tally

NETWORK, FLOAT = "package", "onnx"
CLOSE = 1e-3
"""How far the graph's outputs may lie from the network's, of their largest."""
SAMPLE = 256
"""Rows that are timed."""
Chunk = tuple[pa.Table, pa.Table, NDArray[Any]]


def test_rows(most: int, predictor: Any, dataset: Dataset, ctx: RunContext) -> Iterator[Chunk]:
    """Raw test rows, the same cleaned, and what is true of them, in chunks; at most so many, where it is not 0."""
    done = 0
    for chunk in rows_of(dataset, ctx.store):
        rows, _ = accepted(predictor, chunk)
        rows = rows.slice(0, most - done) if most else rows
        if rows.num_rows:
            with own_errors("correct the data, or run with --rerun package"):
                yield rows, predictor.cleaned(rows.drop(list(OWN_COLUMNS))), truth_of(predictor, rows)
            done += rows.num_rows
            ctx.progress.advanced("compress", done, most or done, "rows", "compared")
    if not done:
        raise DataError("E_TOO_FEW_ROWS", "no test row is left", place="split.test", action="raise split.test")


def compared(
    predictor: Any, model: Path, paths: Mapping[str, Path], chunks: Iterable[Chunk]
) -> tuple[int, tuple[Shrunk, ...]]:
    """How many rows there were, and each version: the package in the folder `model` first, then the graphs.

    Raises:
        IntegrityError: E_SMOKE, the graph of all weights does not give what the network gives.
    """
    engines = {
        NETWORK: of_network(predictor),
        **{name: Engine(predictor, path).outputs for name, path in paths.items()},
    }
    tallies = {name: Tally(predictor, 0) for name in engines}
    differences, largest, sample = dict.fromkeys(engines, 0.0), 1.0, None
    for rows, cleaned, truth in chunks:
        given = stored(predictor, cleaned)
        sample = sample or {name: one[:SAMPLE] for name, one in given.items()}
        found = {name: outputs(given) for name, outputs in engines.items()}
        largest = max(largest, *(float(np.abs(one).max()) for one in found[NETWORK].values()))
        for name, outputs in found.items():
            tallies[name].add(rows, truth, answers(predictor, outputs, cleaned))
            away = [float(np.abs(one - found[NETWORK][at]).max()) for at, one in outputs.items()]
            differences[name] = max(differences[name], *away)
    if differences[FLOAT] > CLOSE * largest:
        raise IntegrityError(
            "E_SMOKE",
            "the graph does not answer as the network does",
            place="compress",
            value=f"outputs differ by {differences[FLOAT]:.3g} of {largest:.3g}",
            action="leave `compress` out, and tell the maintainers",
        )
    whole = {name: tally.whole() for name, tally in tallies.items()}
    versions = []
    for name, asks in engines.items():
        path = paths.get(name, model / PARTS / "weights.safetensors")
        latency, rows_a_second = speed(asks, sample or {})
        packed = pack(path)
        versions.append(
            Shrunk(
                name=name,
                size_bytes=path.stat().st_size,
                packed_bytes=packed.stat().st_size,
                latency_ms=latency,
                rows_a_second=rows_a_second,
                memory_mb=footprint(paths.get(name, model), sample or {}),
                metrics=whole[name].values(),
                difference=differences[name],
            )
        )
        packed.unlink()
    return whole[NETWORK].rows, tuple(versions)

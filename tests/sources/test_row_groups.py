"""Parquet files of few large row groups, as pandas and Spark leave them, in pieces and within bounded memory."""

import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.adapters.store import digest_file
from components.sources.files import FilesSource


@pytest.mark.parametrize("kept", [True, False])
def test_a_row_group_larger_than_two_pieces_is_read_in_pieces(tmp_path, kept):
    """As pandas writes it: one row group of all. The copy in small ones may be missing where a piece is read."""
    path = tmp_path / "a.parquet"
    written = [{"n": number, "t": f"text {number}" if number % 7 else None} for number in range(3000)]
    pq.write_table(pa.Table.from_pylist(written), path)
    source, scratch = FilesSource(uri=str(path), partition_mb=0.01), tmp_path / "scratch"
    pieces = source.partitions(digest_file, scratch)
    assert len(pieces) > 4
    assert max(piece.size_bytes for piece in pieces) < 2 * 0.01 * 2**20
    if not kept:
        shutil.rmtree(scratch)
    rows = [source.read(piece) for piece in pieces]
    assert [row for one in rows for row in one.table.to_pylist()] == written
    assert [number for one in rows for number in one.numbers.to_pylist()] == list(range(1, 3001))
    assert [one.version for one in pieces] == [one.version for one in source.partitions(digest_file, tmp_path / "s")]


def test_the_memory_for_a_large_row_group_does_not_grow_with_it(tmp_path):
    for name, rows in (("small", 1_000_000), ("large", 8_000_000)):
        table = pa.table({"n": np.random.default_rng(0).random(rows)})
        pq.write_table(table, tmp_path / name, row_group_size=rows)
    # A process of its own: what a pool had at most is never reset.
    work = f"""
from pathlib import Path
import pyarrow
from components.sources.columnar import regrouped
for name in ("small", "large"):
    regrouped(Path({str(tmp_path)!r}) / name, Path({str(tmp_path)!r}), name, 2**20)
    print(pyarrow.default_memory_pool().max_memory())
"""
    small, large = map(int, subprocess.check_output([sys.executable, "-c", work], text=True).split())
    assert large < 1.15 * small < 32 * 2**20

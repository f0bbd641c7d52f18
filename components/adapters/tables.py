"""Parquet files of one partition, with page checksums."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FORMAT = 1


def write_table(table: pa.Table, path: Path) -> None:
    """Write `table` to `path` as one Parquet file."""
    pq.write_table(table, path, compression="zstd", compression_level=1, write_page_checksum=True)


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read what `write_table` wrote, checking each page."""
    return pq.read_table(path, columns=columns, page_checksum_verification=True, partitioning=None)

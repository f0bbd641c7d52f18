"""What a cleaning operation offers. Both methods are pure, and doing them twice changes nothing more."""

from typing import Protocol

import pyarrow as pa


class Operation(Protocol):
    """A config that cleans."""

    kind: str

    def values(self, table: pa.Table) -> pa.Table:
        """`table` with cells rewritten; the same rows and columns. A column that is not there is passed over."""

    def keeps(self, table: pa.Table) -> pa.ChunkedArray | None:
        """bool[rows], which rows stay; None where all do."""

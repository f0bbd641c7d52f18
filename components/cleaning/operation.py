"""What a cleaning operation offers. Both methods are pure, and doing them twice changes nothing more.

One that leaves rows of real numbers, none of them missing, as they are says `spares_numbers`.
"""

from typing import Protocol

import pyarrow as pa


class Operation(Protocol):
    """A config that cleans."""

    kind: str

    def keeps(self, table: pa.Table) -> pa.ChunkedArray | None:
        """bool[rows], which of the rows stay; None where all do. It is asked before `values`, about the same rows."""

    def values(self, table: pa.Table) -> pa.Table:
        """`table` with cells rewritten; the same rows and columns. A column that is not there is passed over.

        An operation that gives columns another type says by `becomes(column)` what they are afterwards.
        """

"""A table of Delta Lake. The key of a part is the application's transaction of its commit, which Delta keeps once."""

import re
from typing import Literal

import pyarrow as pa

from components.contracts.config import StepConfig, placed
from components.contracts.errors import EnvironmentFault

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TRIES = 20
"""Another writer may commit at the same time."""


class DeltaSink(StepConfig):
    """Rows added to a table, which is made where it is missing."""

    kind: Literal["delta"] = "delta"
    uri: str = placed(description="the table's folder, also in a bucket (s3://…)")

    def deliver(self, key: str, rows: pa.Table) -> bool:
        """Add a part's rows, unless they are there; whether they were added now.

        Raises:
            EnvironmentFault: E_EXTRA_MISSING; E_IO, Delta refuses the commit.
        """
        try:
            from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
            from deltalake.exceptions import CommitFailedError, DeltaError
        except ImportError as error:
            raise EnvironmentFault(
                "E_EXTRA_MISSING", "deltalake is not installed", place="to.uri", action="pip install -e '.[lake]'"
            ) from error
        once = CommitProperties(app_transactions=[Transaction(app_id=f"millrace/{key}", version=1)])
        for _ in range(TRIES):
            try:
                if DeltaTable.is_deltatable(self.uri) and DeltaTable(self.uri).transaction_version(f"millrace/{key}"):
                    return False
                write_deltalake(self.uri, rows, mode="append", commit_properties=once)
            except CommitFailedError:
                continue
            except (DeltaError, OSError) as error:
                said = f"Delta refused the rows: {COLOURS.sub('', ' '.join(str(error).split()))[:200]}"
                raise EnvironmentFault("E_IO", said, place="to.uri", value=self.uri, action="correct it") from error
            return True
        raise EnvironmentFault(
            "E_IO", "other writers were always first", place="to.uri", value=self.uri, action="run it again"
        )

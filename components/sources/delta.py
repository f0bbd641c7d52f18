"""A Delta Lake table at one version: its data files, grouped into partitions.

Files never change once they are written, so a later version is read only where it has other files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from components.adapters.blobs import CONNECT_SECONDS, FIRST_PAUSE, READ_SECONDS, TRIES, faults, remote
from components.contracts.config import StepConfig, placed
from components.contracts.errors import DataError, EnvironmentFault, MillraceError, masked
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.partition import DigestOf, Partition, Rows
from components.sources.paths import locate

PLACE = "source.uri"
PIECE_BYTES = 64 * 2**20


class DeltaSource(StepConfig):
    """A table of Delta Lake."""

    kind: Literal["delta"] = "delta"
    uri: str = placed(description="the table's folder, also in a bucket (s3://…)")
    at: int = placed(-1, ge=-1, description="the table's version; -1: the newest one; the result names it by itself")
    select: tuple[str, ...] = Field((), description="read only these columns; none: all")

    _seen: int | None = PrivateAttr(None)

    def version(self, digest_of: DigestOf) -> str:
        """The table's own number and version."""
        with self._faults():
            table = self._table(self.at)
            # What is read afterwards is this version, whatever is committed meanwhile.
            self._seen = table.version()
            return digest([str(table.metadata().id), table.version()])

    def columns(self) -> tuple[Column, ...]:
        """None: only the table knows them."""
        return ()

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """Data files in the order of their names, about 64 MB together."""
        with self._faults():
            table = self._table(self.at if self._seen is None else self._seen)
            version, number = table.version(), [str(table.metadata().id), table.schema().to_json()]
            actions = pa.table(table.get_add_actions(flatten=True))
        files = sorted(zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True))
        found: list[list[tuple[str, int]]] = [[]]
        for file in files:
            if found[-1] and sum(size for _, size in found[-1]) + file[1] > PIECE_BYTES:
                found.append([])
            found[-1].append(file)
        return [
            Partition(
                place=f"{paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""),
                version=digest([number, paths]),
                size_bytes=max(sum(size for _, size in group), 1),
                argument=[version, paths],
            )
            for group in found
            if (paths := [path for path, _ in group])
        ]

    def read(self, partition: Partition) -> Rows:
        """The rows of some files, with the columns that their folders say."""
        import pyarrow.dataset as ds

        version, paths = partition.argument
        with self._faults():
            dataset = self._table(version).to_pyarrow_dataset()
            wanted = set(paths)
            fragments = [one for one in dataset.get_fragments() if any(one.path.endswith(path) for path in wanted)]
            if len(fragments) != len(paths):
                raise DataError(
                    "E_SOURCE_CHANGED",
                    f"{len(fragments)} of {len(paths)} files are left of version {version}",
                    place=PLACE,
                    action="the table was vacuumed: name a later version in source.at",
                )
            names = list(self.select) or dataset.schema.names
            chosen = ds.FileSystemDataset(fragments, dataset.schema, dataset.format, dataset.filesystem)
            table = chosen.to_table(columns=names, use_threads=False)
        return Rows(table=table, numbers=pa.array(np.arange(1, table.num_rows + 1)))

    def _table(self, version: int) -> Any:
        try:
            from deltalake import DeltaTable
        except ImportError as error:
            action = "install it: pip install -e '.[lake]'"
            raise EnvironmentFault(
                "E_EXTRA_MISSING", "deltalake is not installed", place=PLACE, action=action
            ) from error
        here = not remote(self.uri)
        uri = str(locate(self.uri, PLACE)) if here else self.uri
        return DeltaTable(uri, version=None if version < 0 else version, storage_options=None if here else _patience())

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """What deltalake raises, as one line."""
        try:
            yield
        except MillraceError:
            raise
        except Exception as error:
            name, said = type(error).__name__, " ".join(masked(str(error)).split())[:200]
            if name == "TableNotFoundError" or "not a Delta table" in said or "No files in log" in said:
                action = "name the folder that holds _delta_log"
                raise DataError(
                    "E_SOURCE_EMPTY", "no Delta table is there", place=PLACE, value=masked(self.uri), action=action
                ) from None
            if remote(self.uri) and isinstance(error, OSError):
                with faults(self.uri, PLACE):
                    raise
            if "version" in said.lower() and self.at >= 0:
                what = f"the table has no such version ({said})"
                raise DataError(
                    "E_SOURCE_EMPTY", what, place="source.at", value=self.at, action="name one that it has"
                ) from None
            if name in {"DeltaError", "DeltaProtocolError", "SchemaMismatchError"}:
                raise DataError(
                    "E_FORMAT", f"the table cannot be read ({said})", place=PLACE, action="see what wrote it"
                ) from None
            raise


def _patience() -> dict[str, str]:
    """How long a bucket is waited for, as for other files."""
    return {
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "timeout": f"{READ_SECONDS}s",
        "retry_timeout": f"{TRIES * READ_SECONDS}s",
        "max_retries": str(TRIES - 1),
        "backoff_config.init_backoff": f"{FIRST_PAUSE}s",
    }

"""A folder of Parquet files, here or in a bucket: one for each part, created whole or not at all."""

import io
import tempfile
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from components.adapters.file_cache import FileCache
from components.adapters.local_files import LocalFiles
from components.contracts.config import StepConfig, placed
from components.contracts.errors import EnvironmentFault


class ParquetSink(StepConfig):
    """Files `part-<key>.parquet`."""

    kind: Literal["parquet"] = "parquet"
    uri: str = placed(description="folder, also in a bucket (s3://…)")

    def deliver(self, key: str, rows: pa.Table) -> bool:
        """Write a part's rows, unless they are there; whether they were written now.

        Raises:
            EnvironmentFault: E_DISK_FULL, E_PERMISSION, E_IO, E_SERVER_UNREACHABLE, E_CREDENTIALS.
        """
        body = io.BytesIO()
        pq.write_table(rows, body, write_page_checksum=True)
        return self._created(key, body.getvalue())

    def deliver_file(self, key: str, path: Path) -> bool:
        """The same of a Parquet file, as it is."""
        return self._created(key, path.read_bytes())

    def _created(self, key: str, body: bytes) -> bool:
        try:
            made: bool = self._files().create(f"part-{key}.parquet", body)
        except (FileExistsError, NotADirectoryError) as error:
            raise EnvironmentFault(
                "E_IO",
                "this is no folder, nor can it be made one",
                place="to.uri",
                value=self.uri,
                action="name another",
            ) from error
        return made

    def _files(self) -> Any:
        if not self.uri.startswith("s3://"):
            return LocalFiles(Path(self.uri).absolute())
        from components.adapters.s3_files import S3Files

        return S3Files(self.uri, FileCache(Path(tempfile.gettempdir()) / "millrace-sink", 0))

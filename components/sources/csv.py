"""Delimited text: one file, a folder or an archive of them, with or without a header, with or without a given split.

Every cell is read as text; what it means is declared by the recipe's checks, so that "NA" stays an identifier and a
postal code keeps its zeros. A row with too few or too many fields is set aside with its number, never shifted.
"""

import io
from csv import reader as csv_lines
from pathlib import Path
from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from pydantic import Field, model_validator

from components.adapters.archives import is_archive, members, read_member
from components.contracts.config import StepConfig, placed
from components.contracts.errors import DataError
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.partition import NO_SPLIT, BadRow, DigestOf, Partition, Rows
from components.sources.paths import denied, locate, nothing_matches, readable_file

PLACE = "source.uri"


class CsvSource(StepConfig):
    """Delimited text files; every column is text until the checks give it a type."""

    kind: Literal["csv"] = "csv"
    uri: str = placed(description="a file, a folder or an archive (tar, zip); relative names start at MILLRACE_DATA")
    files: str = Field("*.csv", description="in a folder or archive: which members hold rows whose part is not given")
    train: str = Field("", description="in a folder or archive: which members hold the published training part")
    test: str = Field("", description="in a folder or archive: which members hold the published test part")
    names: tuple[str, ...] = Field((), description="the columns, in order; needed where a file has no header")
    rename: dict[str, str] = Field({}, description="header name to the name that the recipe uses")
    header: Literal["auto", "present", "absent"] = Field(
        "auto", description="auto: present where at least half of the first row's cells are column names"
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="what separates cells")
    null_values: tuple[str, ...] = Field(("",), description="cells that mean: missing")
    comment: str = Field("", description="lines at the top that start with this are passed over")

    @model_validator(mode="after")
    def _columns_are_known(self) -> Self:
        if self.header == "absent" and not self.names:
            raise ValueError("header: absent needs names, since nothing else says what the columns are")
        return self

    def version(self, digest_of: DigestOf) -> str:
        """The digest of the archive, or of every file with its name."""
        root = locate(self.uri, PLACE)
        if not root.is_dir():
            return digest_of(readable_file(root, PLACE))
        return digest([[name, digest_of(readable_file(root / name, PLACE))] for name, _ in self._members(root)])

    def columns(self) -> tuple[Column, ...]:
        """The named columns as text; none where only the header knows them."""
        return tuple(Column(name=name, type="string") for name in self.names)

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """One piece a file."""
        root = locate(self.uri, PLACE)
        if root.is_file() and not is_archive(root):
            readable_file(root, PLACE)
            return [self._piece(root, "", NO_SPLIT, digest_of(root), root.stat().st_size)]
        version = "" if root.is_dir() else digest_of(root)
        return [
            self._piece(root, name, split, version or digest_of(root / name), _size(root, name))
            for name, split in self._members(root)
        ]

    def _piece(self, root: Path, name: str, split: str, version: str, size: int) -> Partition:
        path = root / name if name and root.is_dir() else root
        return Partition(
            place=name or root.name,
            version=digest([version, name, split]),
            files=((str(path), version),),
            size_bytes=size,
            split=split,
            argument=[str(root), name],
        )

    def _members(self, root: Path) -> list[tuple[str, str]]:
        wanted = [("train", self.train), ("test", self.test)] if self.train or self.test else [(NO_SPLIT, self.files)]
        found = []
        for split, pattern in wanted:
            try:
                names = members(root, pattern) if pattern else []
            except PermissionError as error:
                raise denied(Path(error.filename), PLACE) from error
            if pattern and not names:
                raise nothing_matches(root, pattern, f"source.{split or 'files'}")
            found += [(name, split) for name in names]
        return found

    def read(self, partition: Partition) -> Rows:
        """Every cell as text, null where it is one of `null_values` after its surrounding blanks are cut."""
        root, name = Path(partition.argument[0]), partition.argument[1]
        data = read_member(root, name) if name else root.read_bytes()
        if not data.strip():
            raise DataError("E_FILE_EMPTY", "the file has no rows", place=partition.place, action="leave it out")
        skipped, names = self._head(data, partition.place)
        bad: list[BadRow] = []

        def set_aside(row: csv.InvalidRow) -> str:
            reason = f"{row.actual_columns} fields where {row.expected_columns} are expected"
            bad.append(BadRow(row=row.number or 0, code="E_ROW_FIELDS", reason=reason, text=row.text))
            return "skip"

        # One thread: only then does the reader number the rows that it sets aside.
        table = csv.read_csv(
            io.BytesIO(data),
            read_options=csv.ReadOptions(column_names=list(names), skip_rows=skipped, use_threads=False),
            parse_options=csv.ParseOptions(
                delimiter=self.delimiter, invalid_row_handler=set_aside, newlines_in_values=True
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, null_values=[]
            ),
        )
        missing = {row.row for row in bad}
        kept = [
            number for number in range(skipped + 1, skipped + 1 + table.num_rows + len(bad)) if number not in missing
        ]
        cells = {name: self._cells(table[name]) for name in names}
        return Rows(table=pa.table(cells), numbers=pa.array(kept, pa.int64()), bad=bad)

    def _cells(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        trimmed = pc.utf8_trim_whitespace(column)
        return pc.if_else(pc.is_in(trimmed, pa.array(self.null_values, pa.string())), None, trimmed)

    def _head(self, data: bytes, place: str) -> tuple[int, tuple[str, ...]]:
        """How many lines stand before the first row, and the names of the columns."""
        skipped, start = 0, 0
        while self.comment and data.startswith(self.comment.encode(), start):
            end = data.find(b"\n", start)
            start = end + 1 if end >= 0 else len(data)
            skipped += 1
        line = data[start:].split(b"\n", 1)[0].decode("utf-8-sig").strip("\r")
        if not line.strip():
            raise DataError("E_FILE_EMPTY", "the file has no header and no rows", place=place, action="leave it out")
        cells = next(csv_lines([line], delimiter=self.delimiter, skipinitialspace=True))
        first = [self.rename.get(cell.strip(), cell.strip()) for cell in cells]
        if self.header == "absent" or (self.header == "auto" and self.names and not self._is_header(first)):
            return skipped, self.names
        if self.names and set(first) != set(self.names):
            raise DataError(
                "E_COLUMN_MISSING",
                "the header differs from source.names: "
                f"without {sorted(set(self.names) - set(first))}, with {sorted(set(first) - set(self.names))}",
                place=f"{place}:{skipped + 1}",
                action="correct the file, source.names or source.rename",
            )
        return skipped + 1, tuple(first)

    def _is_header(self, first: list[str]) -> bool:
        return 2 * len(set(first) & set(self.names)) >= len(self.names)


def _size(root: Path, name: str) -> int:
    return (root / name).stat().st_size if root.is_dir() else root.stat().st_size

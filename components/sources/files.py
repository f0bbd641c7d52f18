"""Tables in files: any address that fsspec opens, any of seven formats, plain, compressed or in an archive.

A file is cut into pieces of about `partition_mb`, so that one large file is read by many workers and a grown one is
read again only where it grew. Text is read as text; what its cells mean is declared by the checks, so that "NA" stays
an identifier and a postal code keeps its zeros.
"""

import codecs
import re
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from blake3 import blake3
from pydantic import Field, model_validator

from components.adapters.blobs import Blob, changed, local, remote
from components.adapters.store import digest_file
from components.contracts.config import placed
from components.contracts.errors import DataError
from components.contracts.fingerprint import code_of, digest
from components.contracts.spec import Column
from components.sources.columnar import HEADS, groups, read_group, sniffed
from components.sources.declared import DeclaredSource
from components.sources.delimited import Dialect, Text, read_delimited
from components.sources.file_items import PLACE, Item, find_items, folder_columns, held, is_plain, opened, unpacked
from components.sources.json_lines import read_json_lines
from components.sources.partition import DigestOf, Partition, Rows, broken_partition, kept, once, raise_broken
from components.sources.paths import readable_file
from components.sources.text_cut import Cut, cut_text, head_of
from components.sources.text_head import Heading, check_names

ENDINGS = {
    "csv": "csv", "tsv": "tsv", "tab": "tsv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl", "pq": "parquet",
    "parquet": "parquet", "arrow": "arrow", "feather": "arrow", "orc": "orc", "avro": "avro",
}  # fmt: skip
TEXTS = ("csv", "tsv", "jsonl")
Format = Literal["auto", "csv", "tsv", "jsonl", "parquet", "arrow", "orc", "avro"]
FILE_CODES = re.compile(
    "E_(FILE_EMPTY|FILE_TRUNCATED|FORMAT|FORMAT_MISMATCH|QUOTE|LINE_TOO_LONG|CHECKSUM|ENCODING|ARCHIVE_BOMB)$"
)
"""What is wrong with one file, and leaves the others as they are."""


class FilesSource(DeclaredSource):
    """Files of rows, all of one format; every column of a text format is text until the checks give it a type."""

    kind: Literal["files"] = "files"
    uri: str = placed(
        description="a file, a folder, a glob or an archive (tar, zip); also s3://, https://, gs://, abfs://, "
        "webhdfs://; relative names start at MILLRACE_DATA"
    )
    format: Format = Field("auto", description="auto: by the names of the files, checked by their bytes")
    files: str = Field("*", description="in a folder or archive: which members hold rows whose part is not given")
    train: str = Field("", description="in a folder or archive: which members hold the published training part")
    test: str = Field("", description="in a folder or archive: which members hold the published test part")
    select: tuple[str, ...] = Field((), description="read only these columns of Parquet, Arrow, ORC or Avro; none: all")
    names: tuple[str, ...] = Field((), description="the columns of delimited text, in order; where there is no header")
    rename: dict[str, str] = Field({}, description="name in the file to the name that the recipe uses")
    header: Literal["auto", "present", "absent"] = Field(
        "auto", description="auto: present where at least half of the first row's cells are column names"
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="what separates cells; of tsv a tab")
    quoting: bool = Field(True, description="whether quotes hold cells together")
    null_values: tuple[str, ...] = Field(("",), description="cells of delimited text that mean: missing")
    trim: bool = Field(False, description="cut the blanks around every cell first")
    comment: str = Field("", description="lines at the top that start with this are passed over")
    encoding: str = Field("utf-8", description="of text files, as Python names it: utf-8, cp1252, utf-16 …")
    extra_columns: Literal["refuse", "drop"] = Field(
        "refuse", description="what becomes of columns that the first file does not have"
    )
    partition_mb: float = Field(64, gt=0, le=2048, description="MB of a file that one task reads; bounds its memory")

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.header == "absent" and not self.names:
            raise ValueError("header: absent needs names, since nothing else says what the columns are")
        if not self.delimiter.isascii() or self.delimiter in {'"', "\r", "\n"}:
            raise ValueError("delimiter: one ASCII character, and neither a quote nor a line's end")
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise ValueError(f"there is no encoding {self.encoding!r}") from error
        return self

    def version(self, digest_of: DigestOf) -> str:
        """What every file holds, with its name, or the digest of the archive."""
        found = self._found(digest_of)
        if found[0][0].member:
            return digest_of(found[0][0].path)
        return digest([[one.name, one.split, cut.version if cut else digest_of(one.path)] for one, cut in found])

    def columns(self) -> tuple[Column, ...]:
        """The named columns as text; none where only the files know them."""
        return tuple(Column(name=name, type="string") for name in self.names)

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """Pieces of files, in the order of their names."""
        found: list[Partition] = []
        expected: list[str] = []
        known = self._found(digest_of)
        members = unpacked([item for item, _ in known], scratch, self.files, self.train, self.test)
        for item, cut in [(one, None) for one in members] or known:
            try:
                if cut:
                    found += self._text(item, item.path, cut, expected)
                    continue
                path = opened(item, self.encoding, scratch)
                kind = self._format(item, path)
                if kind in TEXTS:
                    found += self._text(item, path, self._cut(path, item.name, kind, expected), expected)
                else:
                    own = path == item.path
                    found += self._groups(item, path, kind, digest_of(item.path) if own else digest_file(path))
            except DataError as error:
                if not FILE_CODES.match(error.code):
                    raise
                found.append(broken_partition(item.name, digest_of(item.path), error))
        return found

    def read(self, partition: Partition) -> Rows:
        """The rows of one piece; cells of text as text, unless they were declared."""
        argument = partition.argument
        raise_broken(argument)
        item = Item(**argument["item"] | {"blob": Blob(**argument["item"]["blob"])})
        with held(item, self.encoding, Path(argument["plain"])) as path:
            read = self._read_text if argument["kind"] in TEXTS else self._read_groups
            rows = read(path, argument, item)
        names = [self.rename.get(name, name) for name in rows.table.column_names]
        check_names(names, item.name)
        table = rows.table.rename_columns(names)
        for name, value in folder_columns(item.name):
            if name not in names:
                table = table.append_column(name, pa.array([value] * table.num_rows, pa.string()))
        files = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), table.num_rows), [item.name])
        return Rows(table=table, numbers=rows.numbers, bad=rows.bad, files=files)

    def _items(self) -> list[Item]:
        return find_items(self.uri, self.files, self.train, self.test)

    def _format(self, item: Item, path: Path) -> str:
        seen = sniffed(path)
        named: str = self.format
        if named == "auto":
            endings = (one.lstrip(".").lower() for one in reversed(Path(item.name).suffixes))
            named = next((ENDINGS[one] for one in endings if one in ENDINGS), "csv" if seen == "text" else seen)
        if seen != (named if named in HEADS else "text"):
            raise DataError(
                "E_FORMAT_MISMATCH",
                f"the file is named as {named}, and its bytes are those of {seen}"
                + (" or of a damaged file" if seen == "text" else ""),
                place=item.name,
                allowed=", ".join((*TEXTS, *HEADS)),
                action="correct its name or source.format, or fetch it again",
            )
        return named

    def _partition(self, item: Item, path: Path, kind: str, size: int, **more: Any) -> Partition:
        where = {"start", "end", "stamp", "lines"}
        content = [item.name, item.split, kind, *(more[key] for key in sorted(more) if key not in where)]
        part = f" from line {more['line']}" if more.get("line", 0) > 2 else ""
        argument = {"item": asdict(item), "plain": str(path), "kind": kind, **more}
        seen = item.blob.stamp.split("-")
        return Partition(
            place=item.name + part,
            version=digest(content),
            size_bytes=max(size, 1),
            stamps=() if remote(item.blob.url) else ((item.blob.url, int(seen[0]), int(seen[1])),),
            split=item.split,
            argument=argument,
        )

    def _found(self, digest_of: DigestOf) -> list[tuple[Item, Cut | None]]:
        """The files, each with its cut where it is a text that is read where it lies; in a run they are one state."""
        plain = codecs.lookup(self.encoding).name == "utf-8"
        how = [self.format, self.delimiter, self.quoting, self.partition_mb, asdict(self._heading())]
        settings = digest([code_of(__name__, None).digest, how])

        def cut(item: Item) -> Cut | None:
            if not plain or item.member or remote(item.blob.url):
                return None
            try:
                said = kept(digest_of, item.path, settings, lambda: look(item))
            except FileNotFoundError:
                readable_file(item.path, PLACE)
                raise
            return Cut.of(said) if said else None

        def look(item: Item) -> dict[str, Any] | None:
            try:
                kind = self._format(item, item.path) if is_plain(item.path) else ""
                return asdict(self._cut(item.path, item.name, kind, [])) if kind in TEXTS else None
            except DataError:
                return None

        found: list[tuple[Item, Cut | None]] = once(
            digest_of, self.model_dump_json(), lambda: [(item, cut(item)) for item in self._items()]
        )
        return found

    def _cut(self, path: Path, place: str, kind: str, expected: list[str]) -> Cut:
        """The cut of a text; the first file whose top can be read says which columns are `expected`."""
        dialect = self._dialect(kind)
        head = head_of(path, place, kind, dialect, self._heading())
        expected[:] = expected or head.names
        return cut_text(path, place, kind, dialect, head=head, piece_bytes=int(self.partition_mb * 2**20))

    def _text(self, item: Item, path: Path, cut: Cut, expected: list[str]) -> list[Partition]:
        names = list(cut.names)
        expected[:] = expected or names
        chosen = [one for one in names if one in expected] if self.extra_columns == "drop" else names
        return [
            self._partition(
                item,
                path,
                cut.kind,
                one.end - one.start,
                names=names,
                kept=chosen,
                start=one.start,
                end=one.end,
                line=one.line,
                digest=one.digest,
                lines=one.plain,
            )
            for one in cut.pieces
        ]

    def _groups(self, item: Item, path: Path, kind: str, known: str) -> list[Partition]:
        stamp = local(path, path).stamp
        return [
            self._partition(
                item, path, kind, one.size, first=one.first, last=one.last, row=one.row, bytes=known, stamp=stamp
            )
            for one in groups(path, kind, item.name, int(self.partition_mb * 2**20))
        ]

    def _heading(self) -> Heading:
        return Heading(header=self.header, names=self.names, rename=self.rename, comment=self.comment)

    def _dialect(self, kind: str) -> Dialect:
        delimiter = "\t" if kind == "tsv" else self.delimiter
        return Dialect(delimiter=delimiter, quoting=self.quoting, null_values=self.null_values, trim=self.trim)

    def _read_text(self, path: Path, argument: dict[str, Any], item: Item) -> Rows:
        data: bytes | memoryview = _span(path, argument["start"], argument["end"])
        if data and blake3(data).hexdigest(length=16) != argument["digest"]:
            raise changed(item.blob.url, PLACE)
        if argument["lines"] < 0 or argument["kind"] == "jsonl":
            data = bytes(data)
        if isinstance(data, bytes) and argument["kind"] == "jsonl":
            return read_json_lines(data.removeprefix(codecs.BOM_UTF8), self._declared, item.name, argument["line"])
        names, kept = argument["names"], argument["kept"]
        if not data:
            empty = pa.table({name: pa.array([], pa.string()) for name in kept})
            return Rows(table=empty, numbers=pa.array([], pa.int64()))
        renamed = {new: old for old, new in self.rename.items()}
        declared = [one.model_copy(update={"name": renamed.get(one.name, one.name)}) for one in self._declared]
        text = Text(view=data, place=item.name, line=argument["line"], plain=argument["lines"])
        rows = read_delimited(text, names, self._dialect(argument["kind"]), declared)
        return Rows(table=rows.table.select(kept), numbers=rows.numbers, bad=rows.bad)

    def _read_groups(self, path: Path, argument: dict[str, Any], item: Item) -> Rows:
        made_anew = str(path) != argument["plain"]
        first, last = argument["first"], argument["last"]
        table = read_group(path, argument["kind"], first=first, last=last, columns=self.select, place=item.name)
        if not made_anew and local(path, path).stamp != argument["stamp"]:
            raise changed(item.blob.url, PLACE)
        while any(pa.types.is_struct(kind) for kind in table.schema.types):
            # Structs become columns with dotted names.
            table = table.flatten()
        return Rows(table=table, numbers=pa.array(np.arange(table.num_rows) + argument["row"]))


BUFFERS = threading.local()
"""A buffer a thread, since the system clears the pages of a new one each time."""


def _span(path: Path, start: int, end: int) -> memoryview:
    """The bytes of the file, until this thread reads the next ones."""
    if len(getattr(BUFFERS, "held", b"")) < end - start:
        # Pieces are not quite of one size.
        BUFFERS.held = bytearray((end - start) * 9 // 8)
    view = memoryview(BUFFERS.held)[: end - start]
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        done = 0
        while done < len(view) and (count := file.readinto(view[done:])):
            done += count
    return view[:done]

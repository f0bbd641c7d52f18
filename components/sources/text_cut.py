"""A text file's columns and pieces, remembered like its digest: of many files only those that changed are looked at."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from components.contracts.fingerprint import digest
from components.sources.delimited import Dialect
from components.sources.pieces import Piece, pieces
from components.sources.text_head import Heading, read_head

NUMBER = 1
"""Raise it when a file is cut otherwise than before."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The format of a text, its columns (of JSON Lines none), and its pieces: an empty one where there are no rows."""

    kind: str
    names: tuple[str, ...]
    pieces: tuple[Piece, ...]

    @property
    def version(self) -> str:
        """The digest of all that can be read from it."""
        return digest([self.kind, self.names, [[one.line, one.digest] for one in self.pieces]])

    @classmethod
    def of(cls, said: dict[str, Any]) -> Self:
        """What `asdict` gave, also by way of JSON."""
        return cls(kind=said["kind"], names=tuple(said["names"]), pieces=tuple(Piece(**one) for one in said["pieces"]))


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How texts are cut: `comma` and `tab` are the dialects of csv and tsv."""

    comma: Dialect
    tab: Dialect
    heading: Heading
    piece_bytes: int

    @property
    def settings(self) -> str:
        """What a cut hangs on beside the file."""
        return digest([NUMBER, asdict(self)])

    def dialect(self, kind: str) -> Dialect:
        """How cells are told apart."""
        return self.tab if kind == "tsv" else self.comma

    def cut(self, path: Path, place: str, kind: str) -> Cut:
        """The pieces of the text file at `path`, which `place` names to a person.

        Raises:
            DataError: E_FILE_EMPTY, E_ENCODING, E_DUP_COLUMN, E_COLUMN_MISSING, E_QUOTE, E_LINE_TOO_LONG.
        """
        names: tuple[str, ...] = ()
        start, line, quoted = 0, 1, ""
        if kind != "jsonl":
            dialect = self.dialect(kind)
            head = read_head(path, place, dialect, self.heading)
            names, start, line, quoted = head.names, head.start, head.line, dialect.quoted_by
        found = pieces(path, quoted, place, piece_bytes=self.piece_bytes, start=start, line=line)
        # A header without rows: its columns stand all the same.
        found = found or [Piece(start=start, end=start, line=line, digest=digest(""), plain=0)]
        return Cut(kind=kind, names=names, pieces=tuple(found))

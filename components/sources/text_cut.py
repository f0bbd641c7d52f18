"""A text file's columns and pieces, remembered like its digest: of many files only those that changed are looked at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from components.contracts.fingerprint import digest
from components.sources.delimited import Dialect
from components.sources.pieces import Piece, pieces
from components.sources.text_head import Head, Heading, read_head


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


def head_of(path: Path, place: str, kind: str, dialect: Dialect, heading: Heading) -> Head:
    """Where the rows of a text of format `kind` begin, and the columns that its top says.

    Raises:
        DataError: E_FILE_EMPTY, E_ENCODING, E_DUP_COLUMN, E_COLUMN_MISSING.
    """
    return Head(names=(), start=0, line=1) if kind == "jsonl" else read_head(path, place, dialect, heading)


def cut_text(path: Path, place: str, kind: str, dialect: Dialect, *, head: Head, piece_bytes: int) -> Cut:
    """The pieces of the text file at `path`, which `place` names to a person.

    Raises:
        DataError: E_QUOTE, E_LINE_TOO_LONG.
    """
    quoted = "" if kind == "jsonl" else dialect.quoted_by
    found = pieces(path, quoted, place, piece_bytes=piece_bytes, start=head.start, line=head.line)
    # A header without rows: its columns stand all the same.
    found = found or [Piece(start=head.start, end=head.start, line=head.line, digest=digest(""), plain=0)]
    return Cut(kind=kind, names=head.names, pieces=tuple(found))

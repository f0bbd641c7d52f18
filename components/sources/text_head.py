"""The top of a delimited file: notes that are passed over, the header if there is one, where the rows begin."""

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.contracts.errors import DataError
from components.sources.delimited import Dialect, encoding_error, first_cells

HEAD_BYTES = 2**20
WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, kw_only=True)
class Head:
    """The columns, the byte at which the first row begins, and its line (from 1)."""

    names: tuple[str, ...]
    start: int
    line: int


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What a recipe says of the top of its files."""

    header: Literal["auto", "present", "absent"]
    names: tuple[str, ...]
    rename: dict[str, str]
    comment: str


def read_head(path: Path, place: str, dialect: Dialect, heading: Heading) -> Head:
    """The head of the text file at `path`.

    Raises:
        DataError: E_FILE_EMPTY, E_ENCODING, E_DUP_COLUMN, E_COLUMN_MISSING.
    """
    with path.open("rb") as file:
        data = file.read(HEAD_BYTES)
    if data.startswith(WIDE):
        raise encoding_error(data, f"{place}:1", 0, "utf-16")
    start, line = (3 if data.startswith(codecs.BOM_UTF8) else 0), 1
    note = heading.comment.encode()
    while data[start : start + 1] in {b"\n", b"\r"} or (note and data.startswith(note, start)):
        end = data.find(b"\n", start)
        start, line = (end + 1, line + 1) if end >= 0 else (len(data), line)
    first, _, _ = data[start:].partition(b"\n")
    if not first.strip():
        raise DataError("E_FILE_EMPTY", "the file has no header and no rows", place=place, action="leave it out")
    cells = first_cells(first, dialect)
    shown = [heading.rename.get(cell, cell) for cell in cells]
    known = 2 * len(set(shown) & set(heading.names)) >= len(heading.names)
    if heading.header == "absent" or (heading.header == "auto" and heading.names and not known):
        return Head(names=heading.names, start=start, line=line)
    _check(cells, shown, heading, f"{place}:{line}")
    return Head(names=tuple(cells), start=min(start + len(first) + 1, path.stat().st_size), line=line + 1)


def _check(cells: list[str], shown: list[str], heading: Heading, place: str) -> None:
    check_names(cells, place)
    if heading.names and set(shown) != set(heading.names):
        raise DataError(
            "E_COLUMN_MISSING",
            "the header differs from source.names: "
            f"without {sorted(set(heading.names) - set(shown))}, with {sorted(set(shown) - set(heading.names))}",
            place=place,
            action="correct the file, source.names or source.rename",
        )


def check_names(names: list[str], place: str) -> None:
    """Raise E_DUP_COLUMN where two columns have the same name, or one has none."""
    double = next((one for one in names if names.count(one) > 1 or not one), None)
    if double is not None:
        raise DataError(
            "E_DUP_COLUMN",
            "two columns have this name" if double else "a column has no name",
            place=place,
            value=double,
            action="correct the header, or pass over it (source.comment) and give source.names",
        )

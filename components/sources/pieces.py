"""Text files in pieces that begin and end between records, so that each can be read alone.

One pass at memory speed: newlines and quotes are counted, never parsed. A quote opens a field only at the field's
start (RFC 4180), so a newline after an odd number of such quotes belongs to a cell. Each piece knows the digest of
its bytes and the line that it begins at.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from components.contracts.errors import DataError

LONGEST = 64 * 2**20
LOOKAHEAD = 2**16
BLOCK = 2**20
QUOTE, NEWLINE, RETURN = 34, 10, 13

Positions = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Bytes `start` to `end` of a file, the number of its first line (from 1), and the digest of the bytes.

    `plain` says how many lines it has where none holds a quote or a NUL byte, so that each may be a record; else -1.
    """

    start: int
    end: int
    line: int
    digest: str
    plain: int = -1


def pieces(path: Path, delimiter: str, place: str, *, piece_bytes: int, start: int = 0, line: int = 1) -> list[Piece]:
    """The pieces of the text file at `path` from byte `start` on, where `line` begins.

    `delimiter` is "" where quotes mean nothing (JSON Lines).

    Raises:
        DataError: E_QUOTE, a quote is never closed; E_LINE_TOO_LONG.
    """
    size = path.stat().st_size
    found = _unquoted(path, delimiter, piece_bytes, start, line) if size > start else []
    if found is not None:
        return found
    found = []
    with path.open("rb") as file:
        while start < size:
            file.seek(start)
            data = file.read(piece_bytes + LOOKAHEAD)
            end = _end(data, piece_bytes, delimiter)
            while end < 0 and start + len(data) < size and len(data) < piece_bytes + LONGEST:
                data += file.read(LONGEST // 4)
                end = _end(data, piece_bytes, delimiter)
            if end < 0:
                end = _last(data, delimiter, place, line, whole=start + len(data) == size)
            hasher = blake3(max_threads=blake3.AUTO)
            hasher.update(memoryview(data)[:end])
            found.append(Piece(start=start, end=start + end, line=line, digest=hasher.hexdigest(length=16)))
            line += count_lines(memoryview(data)[:end])
            start += end
    return found


def _unquoted(path: Path, delimiter: str, piece_bytes: int, start: int, line: int) -> list[Piece] | None:
    """The pieces where quotes play no part, looked at side by side; None where they do or a line is very long."""
    size, edges = path.stat().st_size, [start]
    with path.open("rb") as file:
        while edges[-1] + piece_bytes < size:
            file.seek(edges[-1] + piece_bytes - 1)
            at = file.read(LOOKAHEAD).find(b"\n")
            if at < 0:
                return None
            edges.append(edges[-1] + piece_bytes + at)
    spans = list(pairwise(edges if edges[-1] == size else [*edges, size]))
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        looked = list(threads.map(lambda span: _look(path, span, delimiter), spans))
    found = []
    for (low, high), seen in zip(spans, looked, strict=True):
        if seen is None:
            return None
        found.append(
            Piece(start=low, end=high, line=line, digest=seen.digest, plain=seen.records if seen.plain else -1)
        )
        line += seen.lines
    return found


@dataclass(frozen=True, kw_only=True)
class _Seen:
    lines: int
    records: int
    plain: bool
    digest: str


def _look(path: Path, span: tuple[int, int], delimiter: str) -> _Seen | None:
    """One pass over a piece, a block that fits into the cache at a time; None where it holds a quote.

    Read, not mapped: a file that is cut off meanwhile would end the process.
    """
    hasher, buffer = blake3(), bytearray(BLOCK)
    view, left, lines, plain, last = memoryview(buffer), span[1] - span[0], 0, True, b""
    with path.open("rb", buffering=0) as file:
        file.seek(span[0])
        while left and (count := file.readinto(view[: min(BLOCK, left)])):
            if delimiter and buffer.find(b'"', 0, count) >= 0:
                return None
            plain = plain and buffer.find(b"\0", 0, count) < 0
            hasher.update(view[:count])
            lines += count_lines(view[:count])
            left, last = left - count, bytes(view[count - 1 : count])
    records = lines + (last != b"\n")
    return _Seen(lines=lines, records=records, plain=plain, digest=hasher.hexdigest(length=16))


def count_lines(data: bytes | memoryview) -> int:
    """How many newlines `data` has. Unlike `bytes.count` it lets other threads work meanwhile."""
    view = np.frombuffer(data, np.uint8)
    return sum(int(np.count_nonzero(view[at : at + BLOCK] == NEWLINE)) for at in range(0, len(view), BLOCK))


def _end(data: bytes, wanted: int, delimiter: str) -> int:
    """The end of the first record of `data` that ends at or after byte `wanted`, or -1."""
    if len(data) <= wanted:
        return -1
    if not delimiter or b'"' not in data:
        return data.find(b"\n", wanted - 1) + 1 or -1
    quotes, _ = _opened(data, delimiter)
    lines = np.flatnonzero(np.frombuffer(data, np.uint8)[wanted - 1 :] == NEWLINE) + (wanted - 1)
    outside = lines[np.searchsorted(quotes, lines) % 2 == 0]
    return int(outside[0]) + 1 if len(outside) else -1


def _last(data: bytes, delimiter: str, place: str, line: int, *, whole: bool) -> int:
    """The end of `data`, which no record's end cuts."""
    if delimiter and _opened(data, delimiter)[1]:
        raise _unclosed(data, delimiter, place, line)
    if not whole:
        raise DataError(
            "E_LINE_TOO_LONG",
            f"a record of more than {LONGEST // 2**20} MiB",
            place=f"{place}, after line {line}",
            action="correct the file, or give its real format in source.format",
        )
    return len(data)


def _opened(view: bytes, delimiter: str) -> tuple[Positions, bool]:
    """Where quotes open and close cells, in turn; and whether the last one is open. `view` begins with a record."""
    if b'"' not in view:
        return np.empty(0, np.int64), False
    data = np.frombuffer(view, np.uint8)
    quotes = np.flatnonzero(data == QUOTE)
    if _regular(data, quotes, ord(delimiter)):
        return quotes, len(quotes) % 2 == 1
    return _walked(view, quotes, delimiter)


def _regular(data: NDArray[np.uint8], quotes: Positions, delimiter: int) -> bool:
    """Whether every other quote stands where one may open a cell, or just after one that it doubles."""
    opening = quotes[::2]
    before = np.where(opening > 0, data[np.maximum(opening, 1) - 1], NEWLINE)
    return bool(((before == delimiter) | (before == NEWLINE) | (before == QUOTE)).all())


def _walked(view: bytes, quotes: Positions, delimiter: str) -> tuple[Positions, bool]:
    """The same one by one, for text with quotes inside unquoted cells, which mean nothing."""
    starts = {delimiter.encode(), b"\n"}
    kept, opened, passed = [], False, -1
    for at in quotes.tolist():
        if at == passed:
            continue
        if not opened:
            if at == 0 or view[at - 1 : at] in starts:
                kept.append(at)
                opened = True
        elif view[at + 1 : at + 2] == b'"':
            passed = at + 1
        else:
            kept.append(at)
            opened = False
    return np.array(kept, np.int64), opened


def _unclosed(view: bytes, delimiter: str, place: str, line: int) -> DataError:
    quotes, _ = _walked(view, np.flatnonzero(np.frombuffer(view, np.uint8) == QUOTE), delimiter)
    suspect = next(iter(_malformed(view, quotes, delimiter)[0].tolist()), int(quotes[-1]))
    breaks = view.count(b"\n", 0, suspect)
    return DataError(
        "E_QUOTE",
        "a quote is never closed",
        place=f"{place}:{line + breaks}",
        value=view[suspect : suspect + 40].decode("utf-8", "replace"),
        action="close it, or set source.quoting: false if quotes mean nothing in this file",
    )


def _malformed(view: bytes, quotes: Positions, delimiter: str) -> tuple[Positions, Positions]:
    """Quotes that open a cell whose closing one does not end it, and these: the first of them lacks its partner."""
    opened, closed = quotes[: len(quotes) // 2 * 2 : 2], quotes[1::2]
    after = np.frombuffer(view + b"\n", np.uint8)[closed + 1]
    wrong = ~np.isin(after, [ord(delimiter), NEWLINE, RETURN, QUOTE])
    return opened[wrong], closed[wrong]


@dataclass(frozen=True, kw_only=True)
class Records:
    """Of each record of a text: the line at which it begins, counted from 0, and whether its quotes are in order."""

    lines: Positions
    sound: NDArray[np.bool_]


def records(view: bytes, delimiter: str) -> Records:
    """The records of `view`; blank lines are none."""
    data = np.frombuffer(view, np.uint8)
    newlines = np.flatnonzero(data == NEWLINE)
    breaks, wrong = newlines, np.empty(0, np.int64)
    if delimiter and b'"' in view:
        quotes, _ = _opened(view, delimiter)
        breaks = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        _, wrong = _malformed(view, quotes, delimiter)
    starts = np.concatenate([[0], breaks + 1])
    starts = starts[starts < len(data)]
    first = data[starts]
    second = np.where(starts + 1 < len(data), data[np.minimum(starts + 1, len(data) - 1)], NEWLINE)
    blank = (first == NEWLINE) | ((first == RETURN) & (second == NEWLINE))
    kept = starts[~blank]
    sound = np.ones(len(kept), bool)
    sound[np.searchsorted(kept, wrong, side="right") - 1] = False
    return Records(lines=np.searchsorted(newlines, kept).astype(np.int64), sound=sound)

"""Compressed files: told by their first bytes, unpacked once into a folder of the step's, with a limit on the size."""

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blake3 import blake3

from components.contracts.errors import DataError, MillraceError

BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    ValueError,
    RuntimeError,
    KeyError,
)
"""What the readers of archives raise; RuntimeError and its NotImplementedError for encryption and odd compression."""
LARGEST_RATIO = 100
FREE_BYTES = 64 * 2**20
"""Text packs to a tenth, images hardly at all; up to so many bytes any ratio is harmless."""


def zstd(path: Path, _: str) -> Any:
    """A Zstandard file, opened for reading."""
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")


COMPRESSED: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"\x28\xb5\x2f\xfd": zstd,
}
"""The first bytes of a compressed file to what opens it."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What the readers of archives raise, as one line."""
    try:
        yield
    except MillraceError:
        raise
    except BROKEN as error:
        raise broken(path, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise broken(path, error) from error


def bomb(path: Path) -> DataError:
    """The line for a file that unpacks to far more than its size."""
    return DataError(
        "E_ARCHIVE_BOMB",
        f"it unpacks to more than {LARGEST_RATIO} times its size",
        place=str(path),
        value=f"{path.stat().st_size} bytes",
        action="unpack it yourself if you trust it, and name the folder",
    )


def compression(path: Path) -> Any:
    """What opens the file at `path`, or None where it is not compressed."""
    with path.open("rb") as file:
        head = file.read(6)
    return next((one for magic, one in COMPRESSED.items() if head.startswith(magic)), None)


def spooled(path: Path, scratch: Path) -> Path:
    """The file without its compression: itself, or a copy in `scratch`.

    Raises:
        DataError: E_FILE_TRUNCATED, it ends too early; E_ARCHIVE_BOMB; E_FORMAT.
    """
    opener = compression(path)
    if opener is None:
        return path
    scratch.mkdir(parents=True, exist_ok=True)
    stamp = path.stat()
    mark = blake3(f"{path}\n{stamp.st_size}\n{stamp.st_mtime_ns}".encode()).hexdigest(length=8)
    plain = scratch / f"{mark}.plain"
    if plain.is_file():
        return plain
    unfinished = scratch / f"{mark}.{os.urandom(6).hex()}"
    most = max(FREE_BYTES, LARGEST_RATIO * stamp.st_size)
    try:
        with readable(path), opener(path, "rb") as packed, unfinished.open("wb") as out:
            while block := packed.read(2**20):
                if out.write(block) and out.tell() > most:
                    raise bomb(path)
        unfinished.replace(plain)
    finally:
        unfinished.unlink(missing_ok=True)
    return plain


def broken(path: Path, error: Exception) -> DataError:
    """The line for a file whose compression or container is damaged."""
    if isinstance(error, EOFError) or "unexpected end" in str(error).lower() or "Truncated" in str(error):
        return DataError(
            "E_FILE_TRUNCATED",
            f"the compressed file ends too early, at {path.stat().st_size} bytes",
            place=str(path),
            action="fetch it again",
        )
    return DataError(
        "E_FORMAT",
        f"the archive cannot be read ({error})",
        place="source.uri",
        value=str(path),
        action="fetch it again",
    )

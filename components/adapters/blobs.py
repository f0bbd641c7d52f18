"""Source files wherever they lie: a local path, or what fsspec opens (`s3://`, `https://`, `gs://`, `webhdfs://` …).

A file elsewhere is fetched whole, once, into a folder of the step's, and read there. Its stamp (ETag, or size and time
of change) is asked for before and after, so that bytes of two versions are never mixed. Not here: the artifact store
(s3_files.py), and what the files mean (sources/).
"""

import fnmatch
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from blake3 import blake3

from components.adapters.archives import walk
from components.adapters.s3_errors import REFUSED as REFUSED_CODES
from components.adapters.s3_errors import code_of
from components.contracts.errors import DataError, EnvironmentFault, masked

BLOCK = 8 * 2**20
TRIES = 4
CONNECT_SECONDS, READ_SECONDS, FIRST_PAUSE = 5, 20, 1
MARKS = ("ETag", "etag", "LastModified", "Last-Modified", "last_modified", "modificationTime", "updated", "mtime")
"""What servers call the thing that changes when a file does."""
WILD = re.compile(r"[*?\[]")
EXTRAS = {"gs": ("gcsfs", "gs"), "gcs": ("gcsfs", "gs"), "abfs": ("adlfs", "azure"), "az": ("adlfs", "azure")}
"""By the kind of an address: the library that opens it, and the extra that brings it."""
REFUSED = (PermissionError,)
SAID = re.compile(rf"\b({'|'.join(['Unauthorized', *sorted(one for one in REFUSED_CODES if not one.isdigit())])})\b")
"""What clients that only have a text for it say of a refusal; a number could be any."""
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Blob:
    """One file: its address, its name below what the user named, its size, and a stamp that changes when it does."""

    url: str
    name: str
    size: int
    stamp: str

    @property
    def suffixes(self) -> list[str]:
        """The endings of its name, lower case: `.csv`, `.gz`."""
        return [one.lower() for one in Path(self.name).suffixes]


def remote(uri: str) -> bool:
    """Whether `uri` is an address and not a path of this machine."""
    return "://" in uri and not uri.startswith("file://")


def split_glob(uri: str) -> tuple[str, str]:
    """`uri` up to its first pattern, and that pattern: `s3://b/x/*.csv` is `s3://b/x` and `*.csv`."""
    if uri.startswith("http"):
        return uri, ""
    parts = uri.split("/")
    wild = next((at for at, part in enumerate(parts) if WILD.search(part)), len(parts))
    base = "/".join(parts[:wild])
    return base or ("/" if uri.startswith("/") else "."), "/".join(parts[wild:])


def matches(name: str, pattern: str) -> bool:
    """Whether a name below a folder fits a pattern; `*` crosses folders, and hidden files are left out."""
    hidden = any(part[:1] in {".", "_"} for part in name.split("/"))
    return not hidden and fnmatch.fnmatchcase(f"/{name}", f"*/{pattern.lstrip('/')}")


def listed(folder: str, place: str) -> list[Blob]:
    """Every file below `folder`, or that one file, sorted by name.

    Raises:
        DataError: E_SOURCE_EMPTY, nothing is there.
        EnvironmentFault: E_PERMISSION, E_CREDENTIALS, E_SERVER_UNREACHABLE.
    """
    blobs = _patiently(lambda: _listed(folder), folder, place)
    if not blobs:
        raise DataError("E_SOURCE_EMPTY", "nothing is there", place=place, value=folder, action=f"correct {place}")
    return blobs


def _listed(folder: str) -> list[Blob]:
    system = _system(folder)
    if folder.startswith("http"):
        return [_blob(system, system.info(folder), folder)]
    found = system.find(folder, detail=True)
    return [_blob(system, info, folder) for path, info in sorted(found.items()) if info["type"] == "file"]


def local(path: Path, root: Path) -> Blob:
    """A file of this machine."""
    stat = path.stat()
    name = path.relative_to(root).as_posix() if path != root else path.name
    return Blob(url=str(path), name=name, size=stat.st_size, stamp=f"{stat.st_size}-{stat.st_mtime_ns}")


def walked(root: Path) -> list[Blob]:
    """Every file below a local folder that is not hidden, sorted by name; a link that leads nowhere has no size."""
    return [
        local(path, root)
        if not path.is_symlink() or path.exists()
        else Blob(url=str(path), name=path.relative_to(root).as_posix(), size=0, stamp="")
        for path in walk(root)
    ]


def fetched(blob: Blob, scratch: Path, place: str) -> Path:
    """The file on this machine: itself, or a whole copy in `scratch`.

    Raises:
        DataError: E_SOURCE_CHANGED, it was replaced meanwhile; E_SOURCE_EMPTY, it is gone.
        EnvironmentFault: the server does not answer, or refuses.
    """
    if not remote(blob.url):
        return Path(blob.url)
    target = scratch / hashlib.blake2b(f"{blob.url}\n{blob.stamp}".encode(), digest_size=16).hexdigest()
    if target.is_file() and blob.size in {-1, target.stat().st_size}:
        return target
    scratch.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.urandom(6).hex()}")
    try:
        with unfinished.open("wb") as out:
            _tried(blob, place, lambda: (out.seek(0), out.truncate()), out.write)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def digest_of(blob: Blob, place: str) -> str:
    """32 hexadecimal digits of BLAKE3 over the bytes of a file elsewhere, which are not kept."""
    hasher = blake3()

    def anew() -> None:
        hasher.reset()

    _tried(blob, place, anew, hasher.update)
    return hasher.hexdigest(length=16)


def _tried(blob: Blob, place: str, begin: Callable[[], Any], take: Callable[[bytes], Any]) -> None:
    """Give the bytes of `blob` to `take`, from the start again after `begin` where the connection fails."""

    def whole() -> None:
        begin()
        _stream(blob, take, place)

    _patiently(whole, blob.url, place)


def _patiently(work: Callable[[], Result], url: str, place: str) -> Result:
    """`work()`, again where the server does not give it, after 1, 2 and 4 seconds."""
    for tried in range(TRIES - 1):
        try:
            with faults(url, place):
                return work()
        except EnvironmentFault as error:
            if error.code != "E_SERVER_UNREACHABLE":
                raise
        time.sleep(FIRST_PAUSE * 2**tried)
    with faults(url, place):
        return work()


def _stream(blob: Blob, take: Callable[[bytes], Any], place: str) -> None:
    system, size = _system(blob.url), 0
    with system.open(blob.url, "rb", block_size=BLOCK, cache_type="none") as source:
        while block := source.read(BLOCK):
            take(block)
            size += len(block)
    now = _blob(system, system.info(blob.url), blob.url)
    if now.stamp != blob.stamp:
        raise changed(blob.url, place)
    if 0 <= blob.size != size:
        raise OSError(f"{size} of {blob.size} bytes came")


def changed(url: str, place: str) -> DataError:
    """The line for a file that was replaced while it was read."""
    return DataError(
        "E_SOURCE_CHANGED",
        "the file changed while it was read",
        place=place,
        value=masked(url),
        action="run the same command again when nothing writes to it",
    )


def _blob(system: Any, info: dict[str, Any], folder: str) -> Blob:
    url = folder if folder.startswith("http") else system.unstrip_protocol(info["name"])
    base = system.unstrip_protocol(system._strip_protocol(folder)) if not folder.startswith("http") else folder  # noqa: SLF001
    name = url[len(base) :].strip("/") or url.rstrip("/").rpartition("/")[2]
    size = int(info.get("size") or -1)
    mark = next((info[name] for name in MARKS if info.get(name)), "")
    return Blob(url=url, name=name, size=size, stamp=f"{size}-{mark}".replace('"', ""))


def _system(uri: str) -> Any:
    import fsspec

    scheme = uri.partition("://")[0]
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    try:
        if scheme == "s3":
            # Tries are counted here alone: three layers that each try again make minutes of a server that hangs.
            waits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
            options["config_kwargs"] = {"retries": {"total_max_attempts": 1}, **waits}
        system = fsspec.filesystem(scheme, **options)
    except ImportError as error:
        library, extra = EXTRAS.get(scheme, (error.name or "another library", ""))
        raise EnvironmentFault(
            "E_EXTRA_MISSING",
            f"{scheme}:// needs {library}, which is not installed",
            place="source.uri",
            action=f"install it: pip install -e '.[{extra}]'" if extra else "install it",
        ) from error
    except ValueError as error:
        raise DataError(
            "E_FORMAT",
            "addresses of this kind are not known",
            place="source.uri",
            value=f"{scheme}://",
            allowed="a path, s3://, https://, gs://, abfs://, webhdfs://",
            action="correct source.uri",
        ) from error
    if scheme == "s3":
        system.retries = 1
    return system


@contextmanager
def faults(url: str, place: str) -> Iterator[None]:
    """What a server or its client raises, as one line that names the address without its credentials."""
    shown = masked(url)
    try:
        yield
    except (DataError, EnvironmentFault):
        raise
    except FileNotFoundError as error:
        if "Connect" in type(error.__cause__).__name__:
            raise _unreachable(shown, place, type(error.__cause__).__name__) from error
        raise DataError(
            "E_SOURCE_EMPTY", "nothing is there", place=place, value=shown, action=f"correct {place}"
        ) from error
    except REFUSED as error:
        raise _refused(shown, place) from error
    except Exception as error:
        name, text = type(error).__name__, str(error)
        code = code_of(error) or code_of(error.__cause__ or error)
        # S3 says of a token that has expired 400, and of a HEAD no more than that.
        refused = code in REFUSED_CODES or (url.startswith("s3://") and code == "400")
        refused = refused or getattr(error, "status", None) in (401, 403)
        if refused or "Credentials" in name or SAID.search(text):
            raise _refused(shown, place) from error
        if isinstance(error, (OSError, TimeoutError)) or name.startswith(("Client", "Endpoint", "Connect", "Server")):
            raise _unreachable(shown, place, name) from error
        raise


def _unreachable(shown: str, place: str, name: str) -> EnvironmentFault:
    return EnvironmentFault(
        "E_SERVER_UNREACHABLE",
        f"the server does not give it ({name})",
        place=place,
        value=shown,
        action="start the server or correct the address; what was read is kept",
    )


def _refused(shown: str, place: str) -> EnvironmentFault:
    return EnvironmentFault(
        "E_CREDENTIALS",
        "the server refuses it to these credentials",
        place=place,
        value=shown,
        action="set the credentials that its library reads (for s3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)",
    )

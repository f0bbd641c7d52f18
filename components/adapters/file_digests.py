"""Content digests of source files, remembered by size and time of change, or elsewhere by what their server says.

A file that changed within the last two seconds is not remembered: it could change again within the same tick of the
file system's clock.
"""

import json
import os
import time
from pathlib import Path

from components.adapters.blobs import digest_of, listed
from components.adapters.store import digest_file

SETTLED_SECONDS = 2


class FileDigests:
    """Call it with a path; `save` keeps what it learned."""

    def __init__(self, memo: Path) -> None:
        self._memo = memo
        try:
            self._known: dict[str, list[int | str]] = json.loads(memo.read_bytes())
        except (FileNotFoundError, ValueError):
            self._known = {}
        self._learned = False

    def __call__(self, path: Path | str) -> str:
        """The digest of the file at `path`, which is text where it is an address of another machine."""
        if isinstance(path, str):
            return self._elsewhere(path)
        stat = path.stat()
        seen = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(str(path))
        if known is not None and known[:3] == seen:
            return str(known[3])
        digest = digest_file(path)
        if time.time() - stat.st_mtime > SETTLED_SECONDS:
            self._known[str(path)] = [*seen, digest]
            self._learned = True
        return digest

    def _elsewhere(self, url: str) -> str:
        blob = listed(url, "source.uri")[0]
        known = self._known.get(url)
        marked = not blob.stamp.endswith("-")
        if known is not None and known[0] == blob.stamp and marked:
            return str(known[1])
        digest = digest_of(blob, "source.uri")
        if marked:
            self._known[url] = [blob.stamp, digest]
            self._learned = True
        return digest

    def save(self) -> None:
        """Write the memo, whole or not at all."""
        if not self._learned:
            return
        self._memo.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._memo.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(self._known))
        Path(scratch).replace(self._memo)
        self._learned = False

"""Content digests of source files, remembered by size and time of change, or elsewhere by what their server says.

A file that changed within the last two seconds is not remembered: it could change again within the same tick of the
file system's clock.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.adapters.blobs import digest_of, listed
from components.adapters.store import digest_file

SETTLED_SECONDS = 2


class FileDigests:
    """Call it with a path; `save` keeps what it learned."""

    def __init__(self, memo: Path) -> None:
        self._memo = memo
        try:
            self._known: dict[str, list[Any]] = json.loads(memo.read_bytes())
        except (FileNotFoundError, ValueError):
            self._known = {}
        self._learned = False
        self._found: dict[str, Any] = {}

    def __call__(self, path: Path | str) -> str:
        """The digest of the file at `path`, which is text where it is an address of another machine."""
        if isinstance(path, str):
            return self._elsewhere(path)
        return self.seen(str(path), path.stat())

    def seen(self, path: str, stat: os.stat_result) -> str:
        """The digest of the file at `path`, of which `stat` was just asked."""
        return str(self._seen(path, stat, lambda: digest_file(Path(path))))

    def kept(self, path: Path, what: str, look: Callable[[], Any]) -> Any:
        """What `look` finds in the file at `path`, plain JSON: looked for once by this object, and remembered."""
        stat = path.stat()
        name = f"{path} {what}"
        found = self.once(f"{name} {stat.st_size} {stat.st_mtime_ns}", lambda: [self._seen(name, stat, look)])
        return found[0]

    def _seen(self, name: str, stat: os.stat_result, look: Callable[[], Any]) -> Any:
        now = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(name)
        if known is not None and known[:3] == now:
            return known[3]
        found = look()
        if time.time() - stat.st_mtime > SETTLED_SECONDS:
            self._known[name] = [*now, found]
            self._learned = True
        return found

    def once(self, what: str, look: Callable[[], Any]) -> Any:
        """What `look` finds, looked for once by this object: a run sees one state of a folder, not two."""
        if what not in self._found:
            self._found[what] = look()
        return self._found[what]

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

"""Metrics on their way to MLflow: buffered, sent in batches from a thread, and on disk until they were taken.

A server that is away is asked again and again; what was not taken when the process ends stays in a file, and the next
run sends it (`left`). Sending a point twice is harmless: MLflow keeps one of equal key, time, step and value. A file
is locked while its process lives.
"""

import fcntl
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

Point = tuple[str, float, int, int]
"""Key, value, milliseconds since 1970, step."""
Send = Callable[[str, Sequence[Point]], None]
End = Callable[[str, str], None]

BATCH = 1000
"""The most that MLflow takes at once."""
GATHER_SECONDS = 1.0
"""Points are gathered for so long: a batch of many costs little more than one of few."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
STATUS = "status"


class Outbox:
    """The points of one MLflow run.

    `send` takes a batch, `end` a status, and `away` says of an error of theirs whether it may pass.
    """

    def __init__(self, folder: Path, run_id: str, send: Send, end: End, away: Callable[[Exception], bool]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run_id, self._send, self._end, self._away = run_id, send, end, away
        self._status, self._over, self._deciding = "", False, threading.Lock()
        self.path = folder / f"{run_id}.jsonl"
        self._file = self.path.open("a+", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._queue: queue.Queue[Point | None] = queue.Queue()
        self._closing = threading.Event()
        self._failed: Exception | None = None
        self._waits = 0
        self._writer = threading.Thread(target=self._write, name="metrics", daemon=True)
        self._writer.start()

    def put(self, points: Sequence[Point]) -> None:
        """Take points; they are on disk, and on their way soon. A full disk keeps none from being sent."""
        with self._deciding, suppress(OSError, ValueError):
            self._file.writelines(json.dumps(one) + "\n" for one in points)
            self._file.flush()
        for one in points:
            self._queue.put(one)

    def close(self, seconds: float) -> int:
        """Send what is left, for at most so long; how many points still wait. Nothing is taken any more.

        Raises what MLflow refused for good.
        """
        self._closing.set()
        self._queue.put(None)
        self._writer.join(seconds)
        if self._failed is not None:
            raise self._failed
        return max(self._waits, 1) if self._writer.is_alive() else 0

    def leave(self, status: str) -> bool:
        """Keep how the run ended beside what waits, for whoever sends both; False if all was sent just now."""
        with self._deciding:
            if self._over:
                return False
            self._status = status
            with suppress(OSError, ValueError):
                self._file.write(json.dumps({STATUS: status}) + "\n")
                self._file.flush()
        return True

    def _write(self) -> None:
        with self._file:
            all_sent = self._all_sent()
        if all_sent:
            self.path.unlink(missing_ok=True)

    def _all_sent(self) -> bool:
        ended = False
        while not ended:
            batch, ended = self._gathered()
            if not batch:
                continue
            self._waits = len(batch)
            for start in range(0, len(batch), BATCH):
                if not self._done(self._send, batch[start : start + BATCH]):
                    return False
            self._waits = 0
        with self._deciding:
            self._over = not self._status
        return self._over or self._done(self._end, self._status)

    def _gathered(self) -> tuple[list[Point], bool]:
        """What came, after a little more had time to come; and whether that was all."""
        found = [self._queue.get()]
        if found[0] is not None:
            self._closing.wait(GATHER_SECONDS)
        while not self._queue.empty():
            found.append(self._queue.get())
        return [one for one in found if one is not None], None in found

    def _done(self, what: Callable[[str, Any], None], value: Any) -> bool:
        pause = FIRST_PAUSE
        while True:
            try:
                what(self._run_id, value)
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to; close does
                if not self._away(error):
                    self._failed = error
                    return False
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                return True


def left(folder: Path) -> Iterator[tuple[str, list[Point], str]]:
    """What processes that are gone did not send: run, points and status; each is removed when the next is asked for."""
    for path in sorted(folder.glob("*.jsonl")):
        with suppress(FileNotFoundError), path.open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            points, status = _read(file.read())
            yield path.stem, points, status
            path.unlink(missing_ok=True)


def _read(text: str) -> tuple[list[Point], str]:
    points: list[Point] = []
    status = ""
    for line in text.splitlines():
        try:
            said: Any = json.loads(line)
        except ValueError:
            # The process was killed in the middle of the last line.
            continue
        if isinstance(said, dict):
            status = str(said.get(STATUS, status))
        else:
            points.append((str(said[0]), float(said[1]), int(said[2]), int(said[3])))
    return points, status

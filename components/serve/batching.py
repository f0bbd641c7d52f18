"""Requests that come while the model works are answered together next: no request waits for others to come.

One thread runs the model. An idle model answers at once, a busy one takes all that waits, up to a number of rows.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

Work = Callable[[Sequence[Any]], Sequence[Any]]
"""Items to as many answers; an answer that is an exception is raised where it was asked for."""


@dataclass
class _Waiting:
    item: Any
    rows: int
    answer: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class FullError(Exception):
    """More rows wait than may."""


class Batcher:
    """`work` on items, `most_rows` together (a larger item alone), while no more than `queue_rows` wait."""

    def __init__(self, work: Work, *, most_rows: int, queue_rows: int) -> None:
        self._work, self._most, self._queue_rows = work, most_rows, queue_rows
        self._waiting: deque[_Waiting] = deque()
        self._rows = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for the model."""
        return self._rows

    async def ask(self, item: Any, rows: int) -> Any:
        """The answer to an item of so many rows.

        Raises:
            FullError: Too much waits.
        """
        if self._rows and self._rows + rows > self._queue_rows:
            raise FullError
        one = _Waiting(item, rows)
        self._waiting.append(one)
        self._rows += rows
        if not self._busy:
            self._start()
        return await one.answer

    async def drained(self) -> None:
        """Wait until nothing is asked any more."""
        await self._idle.wait()

    def close(self) -> None:
        """End the model's thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting and (not batch or rows + self._waiting[0].rows <= self._most):
            one = self._waiting.popleft()
            self._rows -= one.rows
            # Whoever asked may have gone.
            if not one.answer.done():
                batch.append(one)
                rows += one.rows
        if not batch:
            self._busy = False
            self._idle.set()
            return
        self._busy = True
        self._idle.clear()
        done = asyncio.get_running_loop().run_in_executor(self._thread, self._work, [one.item for one in batch])
        done.add_done_callback(lambda ended: self._ended(batch, ended))

    def _ended(self, batch: Sequence[_Waiting], ended: asyncio.Future[Sequence[Any]]) -> None:
        failed = ended.exception()
        answers: Sequence[Any] = [failed] * len(batch) if failed else ended.result()
        for one, answer in zip(batch, answers, strict=True):
            if one.answer.done():
                continue
            if isinstance(answer, BaseException):
                one.answer.set_exception(answer)
            else:
                one.answer.set_result(answer)
        self._start()

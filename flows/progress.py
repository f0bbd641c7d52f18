"""Who is told how a run goes, besides the terminal: the run's page in Prefect."""

import logging
import threading
import time
from contextvars import copy_context
from functools import partial
from typing import Any

from components.context import Outcome, Progress
from components.contracts.errors import MillraceError
from flows.patience import tell_if_there
from flows.runs import Interruption

ARTIFACT_SECONDS, MOST_SECONDS, AWAY_SECONDS = 1.0, 15.0, 5.0
SHARE = 0.03
"""Of a step's time, for telling how far it is."""
LONG_SECONDS = 2.0


class Both:
    """Tells two."""

    def __init__(self, first: Progress, second: Progress) -> None:
        self._both = (first, second)

    def started(self, step: str) -> None:
        """A step begins."""
        for one in self._both:
            one.started(step)

    def advanced(self, step: str, done: float, total: int, unit: str, note: str = "") -> None:
        """`done` of `total`."""
        for one in self._both:
            one.advanced(step, done, total, unit, note)

    def finished(self, outcome: Outcome) -> None:
        """A step ended well."""
        for one in self._both:
            one.finished(outcome)

    def warned(self, line: str) -> None:
        """Something that a person should read."""
        for one in self._both:
            one.warned(line)


class Labelled:
    """Tells another, and says of each step what it belongs to."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress, self._label = progress, label

    def started(self, step: str) -> None:
        """A step begins."""
        self._progress.started(step)

    def advanced(self, step: str, done: float, total: int, unit: str, note: str = "") -> None:
        """`done` of `total`."""
        self._progress.advanced(step, done, total, unit, f"{self._label}  {note}")

    def finished(self, outcome: Outcome) -> None:
        """A step ended well."""
        self._progress.finished(outcome.model_copy(update={"why": f"{self._label}: {outcome.why}"}))

    def warned(self, line: str) -> None:
        """Something that a person should read."""
        self._progress.warned(f"{self._label}: {line}")


class Brief(Labelled):
    """Says of what belongs to a label how far it is, and not which steps it has."""

    def started(self, step: str) -> None:
        """Nothing."""

    def finished(self, outcome: Outcome) -> None:
        """Nothing."""


class OneLine(logging.Filter):
    """A user's mistake reaches the run's page as its line, without a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True; takes the traceback off."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (MillraceError, Interruption)):
            record.exc_info = None
        return True


ONE_LINE = OneLine()


def mistakes_in_one_line() -> None:
    """Let `OneLine` see what Prefect logs of flows and tasks."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(ONE_LINE)


class RunPage:
    """Log lines and, for a step that takes longer than two seconds, a progress bar on the run's page."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._artifact: Any = None
        self._next = 0.0
        self._telling = threading.Lock()
        self._page = copy_context()

    def started(self, step: str) -> None:
        """Note whose page it is: parts report from threads that do not know."""
        self._page = copy_context()
        self._artifact, self._next = None, time.monotonic() + LONG_SECONDS

    def advanced(self, step: str, done: float, total: int, unit: str, note: str = "") -> None:
        """Move the bar, at most once a second, and so seldom that the work hardly waits for it."""
        last = done >= total and self._artifact is not None
        if not last and time.monotonic() < self._next:
            return
        with self._telling:
            began = time.monotonic()
            told = tell_if_there(partial(self._page.copy().run, self._tell, step, 100 * done / total, unit, note))
            now = time.monotonic()
            self._next = now + (
                min(max(ARTIFACT_SECONDS, (now - began) / SHARE), MOST_SECONDS) if told else AWAY_SECONDS
            )

    def _tell(self, step: str, percent: float, unit: str, note: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        said = f"{step}: {unit}" + (f", {note}" if note else "")
        if self._artifact is None:
            key = f"{self._name}-{step}-progress"
            self._artifact = create_progress_artifact(percent, key=key, description=said)
        else:
            update_progress_artifact(self._artifact, percent, description=said)

    def finished(self, outcome: Outcome) -> None:
        """One line: reused or ran, and why."""
        rows = "" if outcome.rows is None else f", {outcome.rows:,} rows"
        what = "reused" if outcome.reused else "ran"
        self._say(f"{outcome.step}: {what} in {outcome.seconds:.2f} s{rows}, because: {outcome.why}")

    def warned(self, line: str) -> None:
        """The line."""
        self._say(line, warning=True)

    def _say(self, line: str, *, warning: bool = False) -> None:
        from prefect import get_run_logger

        logger = get_run_logger()
        (logger.warning if warning else logger.info)(line)

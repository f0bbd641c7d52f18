"""Who is told how a run goes, besides the terminal: the run's page in Prefect."""

import time
from typing import Any

from components.context import Outcome, Progress

ARTIFACT_SECONDS = 1.0


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


class RunPage:
    """Log lines and a progress bar on the run's page. Parts report from worker threads, which have no page."""

    def __init__(self, name: str) -> None:
        self._key = f"{name}-training"
        self._artifact: Any = None
        self._told = 0.0

    def started(self, step: str) -> None:
        """Nothing: the task itself shows that it runs."""

    def advanced(self, step: str, done: float, total: int, unit: str, note: str = "") -> None:
        """Move the training bar, at most once a second."""
        if step != "train" or (time.monotonic() - self._told < ARTIFACT_SECONDS and done < total):
            return
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        self._told = time.monotonic()
        percent = 100 * done / total
        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, key=self._key, description="Epochs trained")
        else:
            update_progress_artifact(self._artifact, percent)

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

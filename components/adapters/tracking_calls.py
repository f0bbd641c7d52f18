"""How MLflow is called: its faults as one line, its advice and progress bars silenced."""

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from components.adapters.local_files import as_fault
from components.contracts.errors import EnvironmentFault, shorten

Given = ParamSpec("Given")
Result = TypeVar("Result")

ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
"""MLflow's codes for a thing that is not there."""

UNREACHED = (
    "Connection refused",
    "Failed to establish a new connection",
    "Name or service not known",
    "name resolution",
    "NameResolutionError",
    "ConnectTimeoutError",
)
BROKEN = (
    "Connection reset",
    "Connection aborted",
    "Connection broken",
    "RemoteDisconnected",
    "Read timed out",
    "too many 50",
    "too many 429",
    "database is locked",
)
"""How libraries say that a server is not there, and that it went away in the middle."""
PASSING = frozenset({"TEMPORARILY_UNAVAILABLE", "RESOURCE_EXHAUSTED", "REQUEST_LIMIT_EXCEEDED"})
"""MLflow's codes for a server that is there and has no time."""
OUTAGE_SECONDS = 100.0
"""So long a server may be away before a run that needs it fails."""
PAUSE_SECONDS = 1.0

OTHER_SCHEMA = "out-of-date database schema"
"""What MLflow says of a database that an older or a newer release made."""


def other_release(address: str) -> EnvironmentFault:
    """The error for a database of another release."""
    return EnvironmentFault(
        "E_DATABASE",
        "MLflow's database was made by another release",
        place=address,
        action="an older one: run `millrace setup`, which copies the database aside and upgrades it; a newer one: "
        "install the release that made it",
    )


@contextmanager
def mapped(address: str) -> Iterator[None]:
    """Turn what MLflow and its database raise into one line; an absent thing stays a LookupError."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        if isinstance(error, MlflowException) and error.error_code in ABSENT:
            raise LookupError(str(error)) from error
        fault = as_fault(error, error.filename or address) if isinstance(error, OSError) else None
        text = " ".join(str(error).split())
        if OTHER_SCHEMA in text:
            raise other_release(address) from error
        full = "database or disk is full" in text
        raise fault or EnvironmentFault(
            "E_DISK_FULL" if full else "E_TRACKING",
            "no space is left for MLflow's database" if full else shorten(text, 300),
            place=address,
            action="free space there" if full else "mend the tracking server or its database, then run again",
        ) from error


def answered(method: Callable[Given, Result]) -> Callable[Given, Result]:
    """A Tracker's method with its faults `mapped`, which is called again while the server is away."""
    return _patient(method, may_pass)


def answered_once(method: Callable[Given, Result]) -> Callable[Given, Result]:
    """The same of what must not be done twice: it is called again where no request has reached the server."""
    return _patient(method, lambda error: may_pass(error) and any(one in str(error) for one in UNREACHED))


def _patient(method: Callable[Given, Result], again: Callable[[Exception], bool]) -> Callable[Given, Result]:
    @wraps(method)
    def call(*arguments: Given.args, **options: Given.kwargs) -> Result:
        tracker: Any = arguments[0]
        over = time.monotonic() + OUTAGE_SECONDS
        while True:
            try:
                with mapped(tracker.address):
                    return method(*arguments, **options)
            except EnvironmentFault as fault:
                cause = fault.__cause__
                if not isinstance(cause, Exception) or not again(cause) or time.monotonic() > over:
                    raise
            time.sleep(PAUSE_SECONDS)

    return call


def may_pass(error: Exception) -> bool:
    """Whether the server did not answer, and may do so a little later."""
    text = str(error)
    return getattr(error, "error_code", "") in PASSING or any(one in text for one in (*UNREACHED, *BROKEN))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what MLflow prints while it saves and copies: progress bars, advice, log lines below errors."""
    name, log = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", logging.getLogger("mlflow")
    before, level = os.environ.get(name), log.level
    os.environ[name] = "false"
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # MLflow puts a filter of its own in front of that one, so its advice has to be stopped here as well.
            warnings.showwarning = lambda *_, **__: None
            yield
    finally:
        log.setLevel(level)
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before

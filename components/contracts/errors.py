"""Every error that a user can meet, each with a stable code.

A `MillraceError` renders as one line: code, place, what happened, the value, what is allowed, what to do next. The
subclass says whose fault it is and so fixes the exit code; the code says what happened. Anything else that is raised
is a bug of ours and keeps its traceback.
"""

import re
from typing import Any

CODES = {
    "E_ARCHIVE_BOMB": "a compressed file unpacks to far more than its size",
    "E_ARCHIVE_PATH": "an archive holds links, or names that lead out of it",
    "E_AUDIO": "bytes in an audio column do not decode as sound",
    "E_BALANCE": "a class has fewer rows than the recipe allows",
    "E_BINARY_IN_TEXT": "a text file holds NUL bytes",
    "E_BUSY": "a server has too much to answer already",
    "E_CHAMPION_MOVED": "another run promoted a model while this one was evaluated",
    "E_CHECKSUM": "the bytes of a source file differ from their checksum",
    "E_CKPT_MISMATCH": "a checkpoint is of another network, job or release",
    "E_CKPT_UNTRUSTED": "a file of weights holds more than tensors and plain values",
    "E_CLIENT_GONE": "whoever asked a server went away",
    "E_COLUMN_EXTRA": "a file has a column that the others do not have",
    "E_COLUMN_MISSING": "a file lacks a column that the recipe names",
    "E_CONFIG": "a recipe, an override or a setting is wrong",
    "E_CONTENT_TYPE": "a request is of a type that a server does not read",
    "E_CREDENTIALS": "a server asks for credentials that were not found, or refuses them",
    "E_CUSTOM": "code of the recipe's own raised an error",
    "E_DATABASE": "a server's database was made by another release",
    "E_DEPLOY": "Prefect refused a deployment",
    "E_DEPTH": "JSON is nested deeper than is read",
    "E_DEVICE": "the accelerator that was asked for is not there",
    "E_DIGEST": "stored bytes differ from what was committed",
    "E_DISK_FULL": "no space is left where the run writes",
    "E_DRIFT": "a column moved further from the snapshot before than the recipe allows",
    "E_DUPLICATE": "a row has the key of an earlier row",
    "E_DUP_COLUMN": "two columns of a file have the same name",
    "E_DUP_KEY": "a JSON object has a key twice",
    "E_ENCODING": "a text file is not UTF-8 nor what the recipe says",
    "E_EXTRA_MISSING": "an optional library is not installed",
    "E_FEATURE_DEAD": "a feature's column has one value or none in the training part",
    "E_FILE_EMPTY": "a source file has no bytes or no rows",
    "E_FILE_TRUNCATED": "the end of a source file is missing",
    "E_FORMAT": "a source file is not of the format that the recipe names",
    "E_FORMAT_MISMATCH": "a source file's bytes are of another format than its name",
    "E_IMAGE": "bytes in an image column do not decode as an image",
    "E_INTERNAL": "a server met a defect of its own: its log says more",
    "E_INTERRUPTED": "the run was asked to stop; the same command continues it",
    "E_IO": "the file system reported an error",
    "E_LABEL": "the target column cannot be learned from",
    "E_LEAK": "training has seen what the test part asks for",
    "E_LEASE": "another process took this one for dead, and may go on in its place",
    "E_LEDGER": "rows went missing between a step's input and its output",
    "E_LINE_TOO_LONG": "a line is longer than is read",
    "E_MODEL": "a server has no model of that name",
    "E_NOT_JSON": "a line is no JSON object",
    "E_NOT_REGULAR_FILE": "a source is a directory, pipe, socket or device where a file is needed",
    "E_NO_ROWS": "a source has columns and no rows",
    "E_OUT_OF_RANGE": "a number that 64 bits cannot hold",
    "E_OUT_OF_MEMORY": "training needs more memory than there is",
    "E_PERMISSION": "reading or writing is not permitted",
    "E_PORT_TAKEN": "a port that was set is in use",
    "E_QUARANTINE_LIMIT": "more rows were quarantined than the recipe allows",
    "E_QUOTE": "a quote is never closed, or stands where none may",
    "E_REQUIREMENTS": "an environment of a package's own requirements could not be made",
    "E_ROW_COUNT": "there are fewer or more rows than the recipe allows",
    "E_ROW_FIELDS": "a row has more or fewer fields than the header",
    "E_ROW_REJECTED": "a row misses what the model needs",
    "E_RUN_UNDER_WAY": "a run still needs what was to be ended",
    "E_SCHEDULE": "a schedule never comes, comes too often, or could pile up",
    "E_SCHEMA_DRIFT": "a file's columns are of other types than those of the others",
    "E_SECRET_INLINE": "a recipe or an override holds a secret in clear text",
    "E_SERVER_SETUP": "a server's database could not be created",
    "E_SERVER_UNREACHABLE": "a server that was set does not answer",
    "E_SERVER_VERSION": "a server runs another version than this client",
    "E_SHARD": "a shard is not as its dataset says",
    "E_SLOW": "a request took too long to come",
    "E_SMOKE": "the package does not answer its own example in a clean process",
    "E_SOURCE_CHANGED": "a source file changed while it was read",
    "E_SOURCE_CONNECT": "a database or a stream does not answer",
    "E_SOURCE_EMPTY": "a source names nothing that exists",
    "E_SPLIT": "rows cannot be divided as the recipe says",
    "E_SQL_NOT_READ_ONLY": "SQL text is not a single read-only statement",
    "E_SQL_OBJECT": "a table, a column or a query is not known to the database",
    "E_STALE": "the newest row is older than the recipe allows",
    "E_STEP_AWAY": "a step that runs in a work pool of its own did not end well there",
    "E_STORE": "the place that MILLRACE_STORE names cannot be a store",
    "E_TOKEN": "a request to a server misses its token",
    "E_TOO_FEW_ROWS": "a part of the split has too few rows",
    "E_TOO_LARGE": "a request has more bytes than a server reads",
    "E_TOO_MANY_ROWS": "a request has more rows than a server answers",
    "E_TRACKING": "MLflow refused or could not store something",
    "E_TRAINING": "the training process ended without a result",
    "E_TYPE": "a value does not have the declared type",
    "E_TYPE_UNSUPPORTED": "a column's type cannot be kept without loss",
    "E_TZ": "a clock time whose instant nobody says",
    "E_VALUE": "a value lies outside what the recipe allows",
    "E_WORKER": "worker processes end whenever they work on one partition",
}
"""Code to meaning. A code is never renamed: scripts match on it."""


LOGIN = re.compile(r"(://[^/\s:@]*):[^\s@]+@")
"""A user's name and password in an address."""
SIGNED = re.compile(
    r"([?&][^=&\s#]*(?:sig|key|sas|token|secret|password|pwd|credential|signature)[^=&\s#]*=)[^&\s#'\"]+",
    re.IGNORECASE,
)
"""What an address is signed with, or opens it."""

VALUE_LENGTH = 300
"""Characters of a value that a line shows: a path should stay whole."""


class MillraceError(Exception):
    """One line that a person can act on; survives pickling."""

    exit_code = 1

    def __init__(
        self, code: str, what: str, *, place: str = "", value: Any = None, allowed: str = "", action: str
    ) -> None:
        if code not in CODES:
            raise KeyError(code)
        self.code, self.what, self.place, self.action = code, what, place, action
        self.value = None if value is None else shorten(value, VALUE_LENGTH)
        self.allowed = allowed if len(allowed) <= VALUE_LENGTH else allowed[: VALUE_LENGTH - 1] + "…"
        self.others: tuple[MillraceError, ...] = ()
        super().__init__(self.line())

    def advised(self, more: str) -> "MillraceError":
        """The same with more to know for who acts on it."""
        return rebuilt(type(self), self.code, self.what, self.place, self.value, self.allowed, f"{self.action}; {more}")

    def line(self) -> str:
        """The rendered line, without the exit code."""
        where = f"{self.place}: " if self.place else ""
        value = f" (got {self.value})" if self.value is not None else ""
        allowed = f"; allowed: {self.allowed}" if self.allowed else ""
        return f"{self.code} {where}{self.what}{value}{allowed}; {self.action}"

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuilt, (type(self), self.code, self.what, self.place, self.value, self.allowed, self.action)


def rebuilt(kind: type[MillraceError], code: str, what: str, *rest: Any) -> MillraceError:
    """An error from its parts, with `value` as text already: `rest` is place, value, allowed, action."""
    place, value, allowed, action = rest
    error = kind(code, what, place=place, allowed=allowed, action=action)
    error.value = value
    error.args = (error.line(),)
    return error


class ConfigError(MillraceError, ValueError):
    """The recipe, an override or a setting is wrong."""

    exit_code = 2


class DataError(MillraceError, ValueError):
    """The data that the user pointed at cannot be used."""

    exit_code = 2


class EnvironmentFault(MillraceError, OSError):
    """The machine, a server or the disk did not do its part."""


class ConflictError(MillraceError, RuntimeError):
    """Another run was first; the same command again takes that into account."""


class IntegrityError(MillraceError, RuntimeError):
    """An invariant of ours does not hold; nothing was committed."""


class InterruptedRunError(MillraceError, RuntimeError):
    """The run was asked to stop and can be continued."""

    exit_code = 75


def masked(text: str) -> str:
    """`text` with the passwords and signatures in its addresses hidden."""
    return SIGNED.sub(r"\1***", LOGIN.sub(r"\1:***@", text))


def shorten(value: Any, limit: int = 80) -> str:
    """`value` as text of at most `limit` characters, line breaks escaped."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"

"""MLflow's local database when MLflow's release changes: a copy is kept, and what can be upgraded is.

MLflow brings a database of an older release to its own schema when it opens it, without a word, where tables are
missing; where only columns differ, and where the database is of a newer release, it refuses.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from components.adapters.tracking_calls import other_release


@contextmanager
def same_release(database: Path) -> Iterator[None]:
    """Open the database inside the block; one that another release opened last is copied first."""
    note, release = _note(database), metadata.version("mlflow")
    before = note.read_text() if note.is_file() else ""
    if database.is_file() and before != release and not copy_of(database).exists():
        shutil.copyfile(database, copy_of(database))
    yield
    if before != release:
        note.write_text(release)


def _note(database: Path) -> Path:
    """Where the release stands that opened the database last."""
    return database.with_name("release")


def copy_of(database: Path) -> Path:
    """Where the copy of a database stands that this release found; it is made once."""
    return database.with_name(f"{database.name}.before-{metadata.version('mlflow')}")


def upgrade(database: Path, address: str) -> Path:
    """Bring a database that MLflow refused to its schema; where the copy of the old one stands.

    Raises:
        EnvironmentFault: E_DATABASE, it is of a newer release; it stays as it was.
    """
    copy = database.with_name(f"{database.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    shutil.copyfile(database, copy)
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        copy.replace(database)
        raise other_release(address)
    _note(database).write_text(metadata.version("mlflow"))
    return copy

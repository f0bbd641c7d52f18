"""What garbage collection has to keep: what models, recent runs and the newest results of every recipe name."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import Any

from components.adapters.collect import Removal, collect
from components.adapters.leases import RENEWALS, Lease, kept
from components.adapters.pointers import Pointer
from components.adapters.prediction_log import LOGS, began
from components.adapters.store import Store
from components.adapters.tracking import Tracker
from components.contracts.errors import EnvironmentFault
from components.contracts.fingerprint import Fingerprint
from components.registered import lineage_pointer

DAY_SECONDS = 24 * 3600.0
RENEW_SECONDS = 20.0
POLL_SECONDS = 2.0


@dataclass
class Kept:
    """Names of results, and why they stay."""

    names: set[str] = field(default_factory=set)
    models: int = 0
    runs: int = 0


def collected(store: Store, tracker: Tracker, *, keep_days: float, really: bool) -> tuple[Kept, list[Removal]]:
    """Remove what nothing keeps; what is kept, and what was removed.

    Raises:
        EnvironmentFault: E_TRACKING, the registry cannot be asked which models exist; nothing is removed.
    """
    kept = roots(store, tracker, keep_days)
    if not really:
        return kept, collect(store, kept.names, really=False)
    with _alone(store) as alive:
        found = collect(store, kept.names, really=True, alive=alive)
        _forget_lineage(store, kept)
        return kept, found


def _forget_lineage(store: Store, kept: Kept) -> None:
    """What a package was made of goes with the last of its bytes, unless it is to be made again."""
    for name in set(store.files.names("pointers/lineage")) - kept.names:
        entry = store.artifact("package", name)
        if entry.record() is None and entry.retired() is None:
            lineage_pointer(store, name).clear()


def abandoned(home: Path, *, keep_days: float, really: bool) -> list[Removal]:
    """Remove checkpoints of trainings and environments of packages that nobody used for so long; what was removed."""
    before, found = time.time() - keep_days * DAY_SECONDS, []
    unfinished = [(one, "unfinished") for one in sorted((home / "training").glob("*"))]
    # Each use of an environment touches a file in it.
    environments = [(one, "environment") for one in sorted((home / "environments").glob("*/"))]
    for folder, what in unfinished + environments:
        known = [_stat(one) for one in (folder, *folder.rglob("*"))]
        if max((one.st_mtime for one in known if one), default=before) < before:
            size = sum(one.st_size for one in known if one and S_ISREG(one.st_mode))
            found.append(Removal(what=what, place=str(folder), bytes=size))
            if really:
                shutil.rmtree(folder, ignore_errors=True)
    return found


def _stat(path: Path) -> os.stat_result | None:
    """None where it is gone: training removes what it has no use for."""
    with suppress(FileNotFoundError):
        return path.stat()
    return None


@contextmanager
def _alone(store: Store) -> Iterator[Callable[[], None]]:
    """Hold the lease of collections; what it gives raises where it was lost."""
    lease = Lease(store, "collection", os.urandom(6).hex(), RENEW_SECONDS)
    end = time.monotonic() + (RENEWALS + 1) * RENEW_SECONDS
    while not lease.acquire():
        if time.monotonic() > end:
            raise _busy()
        time.sleep(POLL_SECONDS)
    with kept(lease):
        yield lease.check


def _busy() -> EnvironmentFault:
    what = "another garbage collection is at work in this store"
    return EnvironmentFault("E_STORE", what, place="gc", action="wait until it is done")


def roots(store: Store, tracker: Tracker, keep_days: float) -> Kept:
    """The results that pointers, registered models and runs of the last `keep_days` name."""
    kept = Kept()
    for recipe in store.files.names("pointers/last"):
        for step in store.files.names(f"pointers/last/{recipe}"):
            kept.names |= {Fingerprint.model_validate(value).key for value in _value(store, f"last/{recipe}/{step}")}
    for name in store.files.names("pointers/landed"):
        # A stream may have forgotten its messages: what was kept of them stays.
        kept.names |= {str(key) for value in _value(store, f"landed/{name}") for key in value["parts"]}
    for recipe in store.files.names("pointers/fitted"):
        for feature in store.files.names(f"pointers/fitted/{recipe}"):
            kept.names |= {str(value["fingerprint"]) for value in _value(store, f"fitted/{recipe}/{feature}")}
    since = time.time() - keep_days * DAY_SECONDS
    kept.names |= set(_logs(store, datetime.fromtimestamp(since, UTC)))
    packages = set(_packages(store, tracker))
    kept.models = len(packages)
    for name in store.files.names("pointers/champion"):
        # The champion stays whatever this machine's registry says: others may share the store.
        packages |= {str(value["fingerprint"]) for value in _value(store, f"champion/{name}")}
    kept.names |= packages
    for name in store.files.names("pointers/runs"):
        for value in _value(store, f"runs/{name}"):
            lineage = set(value.get("results", {}).values())
            if value.get("ended", 0) >= since or lineage & packages:
                kept.runs += 1
                kept.names |= lineage | {value["report"]}
    return kept


def _logs(store: Store, since: datetime) -> Iterator[str]:
    """What servers have logged since then."""
    for step in store.files.names(""):
        if step.startswith(LOGS):
            yield from (key for key in store.files.names(f"{step}/parts") if began(key) >= since)


def _packages(store: Store, tracker: Tracker) -> Iterator[str]:
    """Every package that was ever champion and whose version still stands in the registry."""
    for name in store.files.names("pointers/champion"):
        standing = tracker.versions(name)
        for epoch in Pointer(store, f"champion/{name}").history():
            if str(epoch.value["version"]) in standing:
                yield str(epoch.value["fingerprint"])


def _value(store: Store, name: str) -> list[dict[str, Any]]:
    """A pointer's value, or nothing where a writer died before it was set."""
    found = Pointer(store, name).read()
    return [dict(found.value)] if found else []

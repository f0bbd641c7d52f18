"""What garbage collection has to keep: what models, recent runs and the newest results of every recipe name."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from components.adapters.collect import Removal, collect
from components.adapters.pointers import Pointer
from components.adapters.store import Store
from components.adapters.tracking import Tracker
from components.contracts.fingerprint import Fingerprint

DAY_SECONDS = 24 * 3600.0


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
    return kept, collect(store, kept.names, really=really)


def roots(store: Store, tracker: Tracker, keep_days: float) -> Kept:
    """The results that pointers, registered models and runs of the last `keep_days` name."""
    kept = Kept()
    for recipe in store.files.names("pointers/last"):
        for step in store.files.names(f"pointers/last/{recipe}"):
            value = _value(store, f"last/{recipe}/{step}")
            kept.names.add(Fingerprint.model_validate(value).key)
    packages = set(_packages(store, tracker))
    kept.models = len(packages)
    kept.names |= packages
    since = time.time() - keep_days * DAY_SECONDS
    for name in store.files.names("pointers/runs"):
        value = _value(store, f"runs/{name}")
        lineage = set(value.get("results", {}).values())
        if value.get("ended", 0) >= since or lineage & packages:
            kept.runs += 1
            kept.names |= lineage | {value["report"]}
    return kept


def _packages(store: Store, tracker: Tracker) -> Iterator[str]:
    """Every package that was ever champion and whose version still stands in the registry."""
    for name in store.files.names("pointers/champion"):
        standing = tracker.versions(name)
        for epoch in Pointer(store, f"champion/{name}").history():
            if str(epoch.value["version"]) in standing:
                yield str(epoch.value["fingerprint"])


def _value(store: Store, name: str) -> dict[str, Any]:
    found = Pointer(store, name).read()
    assert found is not None
    return dict(found.value)

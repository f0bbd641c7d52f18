"""Garbage collection of a store: what nothing names any more goes, its record first and its bytes a week later.

Whatever a kept record, a root or a pointer names stays, with all that it names in turn: any 32 hexadecimal digits in
them count as a name, so nothing is missed that a new kind of artifact might hold. A record that goes is kept aside
(`retired.json`) as long as its bytes: a run that was under way and still names it gets it back (`Entry.standing`).
What is younger than the grace time is never touched, and a folder that a writer holds neither.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from components.adapters.store import RETIRED, Entry, Record, Store

GRACE_SECONDS = 7 * 24 * 3600.0
NAME = re.compile(r'"([0-9a-f]{32})"')
MARKERS = frozenset({"record.json", "part.json", RETIRED})


@dataclass(frozen=True, kw_only=True)
class Removal:
    """One thing that goes.

    `what`: a `record` (its bytes stay for the grace time), the `bytes` of one, or what a dead writer left `unfinished`.
    """

    what: str
    place: str
    bytes: int


def entries(store: Store) -> Iterator[Entry]:
    """Every place of a commit in the store."""
    for step in store.files.names(""):
        if step == "pointers" or step[0] == ".":
            continue
        for name in store.files.names(step):
            if name == "parts":
                yield from (store.part(step, key) for key in store.files.names(f"{step}/parts"))
            else:
                yield store.artifact(step, name)


def collect(
    store: Store,
    roots: Iterable[str],
    *,
    really: bool,
    clock: Callable[[], float] = time.time,
    alive: Callable[[], None] = lambda: None,
) -> list[Removal]:
    """Remove what neither `roots` (names of entries) nor anything that they lead to names; what was removed.

    With `really` False nothing is touched. One collection at a time: the caller holds a lease (flows/collection.py).
    """
    known = {entry.folder.rpartition("/")[2]: entry for entry in entries(store)}
    named = _named(known, roots)
    found: list[Removal] = []
    for name, entry in known.items():
        alive()
        found += _collected(entry, named=name in named, before=clock() - GRACE_SECONDS, really=really)
    if really:
        store.files.end_uploads("", clock() - GRACE_SECONDS)
    return found


def _named(known: dict[str, Entry], roots: Iterable[str]) -> set[str]:
    named: set[str] = set()
    waiting = [name for name in roots if name in known]
    while waiting:
        name = waiting.pop()
        if name in named:
            continue
        named.add(name)
        record = known[name].record() or known[name].retired()
        if record is not None:
            text = record.body().decode()
            waiting += [one for one in NAME.findall(text) if one in known and one not in named]
    return named


def _collected(entry: Entry, *, named: bool, before: float, really: bool) -> list[Removal]:
    record, retired = entry.record(), entry.retired()
    found = []
    if retired is not None and (record is None or record.attempt != retired.attempt):
        found += _retired(entry, retired, named=named and record is None, before=before, really=really)
    elif record is not None and not named and entry.store.files.changed(entry.marker) < before:
        found += _retire(entry, record, really=really)
    elif retired is not None and named and really:
        # It was given back to somebody who names it for good.
        entry.store.files.delete(f"{entry.folder}/{RETIRED}")
    return found + _unfinished(entry, before=before, really=really)


def _retire(entry: Entry, record: Record, *, really: bool) -> list[Removal]:
    files, aside = entry.store.files, f"{entry.folder}/{RETIRED}"
    if really:
        # What stands aside from an earlier time would not give the bytes a new grace time.
        files.delete(aside)
        if files.create(aside, record.body()):
            files.delete(entry.marker)
    return [_removal("record", entry, record.attempt)]


def _retired(entry: Entry, retired: Record, *, named: bool, before: float, really: bool) -> list[Removal]:
    """Give a record that stands aside back where it is named, or let its bytes go when it is old."""
    files, aside = entry.store.files, f"{entry.folder}/{RETIRED}"
    if named:
        if really:
            entry.standing()
        return []
    if files.changed(aside) >= before:
        return []
    found = _removal("bytes", entry, retired.attempt)
    if really:
        # First of all nobody can get the record back any more; who was faster keeps the bytes.
        files.delete(aside)
        if retired.attempt not in entry.attempts():
            files.clear(f"{entry.folder}/{retired.attempt}")
    return [found]


def _unfinished(entry: Entry, *, before: float, really: bool) -> list[Removal]:
    files, found, kept = entry.store.files, [], entry.attempts()
    for attempt in files.names(entry.folder):
        folder = f"{entry.folder}/{attempt}"
        if attempt not in MARKERS and attempt not in kept and 0 < files.changed(folder) < before:
            found.append(_removal("unfinished", entry, attempt))
            if really:
                files.clear(folder)
    return found


def _removal(what: str, entry: Entry, attempt: str) -> Removal:
    return Removal(
        what=what, place=f"{entry.folder}/{attempt}", bytes=entry.store.files.size(f"{entry.folder}/{attempt}")
    )

"""Which runs live. Each holds a file of its home, locked while its process lives, and a lease in the store.

The file says at once, on this machine, that a process went away. The lease says it everywhere, also of a process that
hangs, and is what a run declared dead meets when it wants to write: flows/reconcile.py declares.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.adapters.leases import RENEWALS, Lease, kept, stands
from components.adapters.pointers import Epoch, Pointer
from components.adapters.store import Store, free
from components.context import RunContext
from components.contracts.fingerprint import digest
from components.contracts.placement import Placement

RENEW_SECONDS, LOOK_SECONDS = 20.0, 1.0
DEAD = "dead"
"""What a lease says beside its empty holder when its run was declared dead."""


@dataclass(frozen=True, kw_only=True)
class Gone:
    """A run that went away; `prefect_run` is Prefect's number of it, where that was known."""

    name: str
    prefect_run: str = ""


@contextmanager
def alive(ctx: RunContext, name: str, prefect_run: str = "") -> Iterator[None]:
    """Be seen to live while the block runs; what is written to the context's store is refused once that ended."""
    about = {"prefect_run": prefect_run, "host": socket.gethostname(), "process": os.getpid()}
    lease = Lease(ctx.store, f"runs/{name}", name, RENEW_SECONDS, about=about)
    with _file(ctx.placement, name, prefect_run):
        ctx.store.fence = lease.check
        try:
            with kept(lease, end=lease.drop):
                yield
        finally:
            ctx.store.fence = free


@contextmanager
def _file(placement: Placement, name: str, prefect_run: str) -> Iterator[None]:
    """Hold the run's file; it stays, unlocked, only if the process goes away."""
    path = _folder(placement) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    with scratch.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump({"run": name, "process": os.getpid(), "prefect_run": prefect_run}, file)
        file.flush()
        # Nobody sees it before it is locked.
        scratch.replace(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def under_way(placement: Placement) -> dict[str, bool]:
    """The runs of this home whose process lives, and of each whether a worker started it, which knew its number."""
    return {name: bool(known.get("prefect_run")) for name, known, lives in _files(placement) if lives}


def numbers_under_way(ctx: RunContext) -> set[str]:
    """Prefect's numbers of the runs that live here or elsewhere, as far as they know theirs."""
    here = {str(known.get("prefect_run", "")) for _, known, lives in _files(ctx.placement) if lives}
    leased = {str(one.value.get("prefect_run", "")) for _, one in _leases(ctx.store) if one.value["holder"]}
    return (here | leased) - {""}


def condemned(ctx: RunContext, name: str) -> bool:
    """Whether a run whose process is gone may be told so: it has no lease any more, or is dead by it now."""
    return declare_dead(ctx.store, name) or (now := _newest(ctx.store, name)) is None or not now.value["holder"]


def gone(placement: Placement) -> list[Gone]:
    """The runs of this home whose process went away."""
    found = [(name, known) for name, known, lives in _files(placement) if not lives]
    return [Gone(name=name, prefect_run=known.get("prefect_run", "")) for name, known in found]


def silent(ctx: RunContext, tell: Callable[[str], None] = lambda _: None, own: str = "") -> list[Gone]:
    """The runs but `own`, here and elsewhere, whose lease nobody renews; each is watched until it is, or has expired.

    That takes up to one renewal where all live, and three where one does not. Each is declared dead: what it writes
    from now on is refused.
    """
    leases = [(name, now) for name, now in _leases(ctx.store) if name != own]
    seen_at = time.monotonic()
    waiting = {name: now for name, now in leases if now.value["holder"]}
    if waiting:
        tell(f"looking at {len(waiting)} runs: each shows every {RENEW_SECONDS:g} s that it lives")
    found = [_gone(name, now) for name, now in leases if now.value.get(DEAD)]
    for name in {name for name, _ in leases} - waiting.keys() - {one.name for one in found}:
        # It ended, and went before it had tidied up.
        _lease(ctx.store, name).clear()
    while waiting:
        for name, seen in list(waiting.items()):
            asked_at, now = time.monotonic(), _newest(ctx.store, name)
            if now is None or now.epoch != seen.epoch:
                del waiting[name]
            elif asked_at - seen_at >= RENEWALS * float(seen.value["renew_seconds"]):
                del waiting[name]
                if declare_dead(ctx.store, name, after=seen.epoch):
                    found.append(_gone(name, seen))
        if waiting:
            time.sleep(LOOK_SECONDS)
    return found


def declare_dead(store: Store, name: str, after: int = 0) -> bool:
    """From now on what the run writes is refused; False where it ended, or has shown that it lives.

    `after` is the epoch that was seen for too long; 0 where its process is known to be gone.
    """
    now = _newest(store, name)
    if now is None or (after and now.epoch != after) or not now.value["holder"]:
        return now is not None and bool(now.value.get(DEAD))
    pointer = _lease(store, name)
    return pointer.move({**now.value, "holder": "", DEAD: True}, after=now.epoch) and stands(pointer, now.epoch)


def forget(ctx: RunContext, name: str) -> None:
    """Drop what is left of a run that was declared dead, once that was told. It finds a gap where its lease was."""
    (_folder(ctx.placement) / f"{name}.json").unlink(missing_ok=True)
    _lease(ctx.store, name).clear()


def store_tag(placement: Placement) -> str:
    """What deployments carry whose runs share a store: a Prefect server may be that of several."""
    # A folder is another one on another machine.
    where = [socket.gethostname() if placement.store_folder is not None else "", placement.store_place]
    return f"store-{digest(where)[:8]}"


def ended_at(placement: Placement) -> Path:
    """A file that was touched when the servers were last ended."""
    return _folder(placement) / "ended"


def _folder(placement: Placement) -> Path:
    return placement.home / "runs"


def _lease(store: Store, name: str) -> Pointer:
    # Whoever declares another run dead is not kept from it by a lease of its own that it lost.
    return Pointer(Store(store.files), f"leases/runs/{name}")


def _leases(store: Store) -> Sequence[tuple[str, Epoch]]:
    """Every run's lease with its newest epoch."""
    found = []
    for name in store.files.names("pointers/leases/runs"):
        now = _newest(store, name)
        if now is not None:
            found.append((name, now))
    return found


def _newest(store: Store, name: str) -> Epoch | None:
    """The lease's newest epoch; None where its run has ended, or is just ending."""
    with suppress(FileNotFoundError):
        return _lease(store, name).read()
    return None


def _gone(name: str, now: Epoch) -> Gone:
    return Gone(name=name, prefect_run=str(now.value.get("prefect_run", "")))


def _files(placement: Placement) -> list[tuple[str, dict[str, Any], bool]]:
    """Every run's file: its name, what it says, and whether its process lives."""
    found = []
    for path in sorted(_folder(placement).glob("*.json")):
        with suppress(FileNotFoundError), path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                lives = False
            except BlockingIOError:
                lives = True
            text = file.read()
            found.append((path.stem, json.loads(text) if text else {}, lives))
    return found

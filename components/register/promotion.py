"""Who is champion: a pointer in the store whose epochs are the audit log, moved by one function for runs and persons.

The registry's alias mirrors it. What was rolled back comes back by a person's word only, not by the next run of a
recipe that makes the same package.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from components.adapters.model_registry import CHAMPION, FINGERPRINT_TAG, PACKAGE_TAG, VERIFIED_TAG
from components.adapters.pointers import Pointer
from components.adapters.store import Record, digest_file
from components.context import RunContext
from components.contracts.artifacts import Approval, Approved, ModelPackage
from components.contracts.config import Frozen
from components.contracts.errors import ConfigError, ConflictError, IntegrityError

POINTERS = "champion"


class Champion(Frozen):
    """One epoch: which package stands, by whom and why.

    A rollback says which epoch stands again (`to`), and the content of the package that it took the place of. A run
    whose gate a person overrode is `forced`.
    """

    content: str
    fingerprint: str
    version: str
    run: str
    how: Literal["run", "forced", "person", "rollback"] = "run"
    who: str = ""
    why: str = ""
    at: str = ""
    to: int = 0
    instead: str = ""


Moves = Sequence[tuple[int, Champion]]
"""Epochs, oldest first."""


def champion_pointer(ctx: RunContext, name: str) -> Pointer:
    """The pointer whose value is the champion of `name`."""
    return Pointer(ctx.store, f"{POINTERS}/{name}")


def moves_of(ctx: RunContext, name: str) -> Moves:
    """Every champion that `name` had."""
    return [(one.epoch, Champion.model_validate(one.value)) for one in champion_pointer(ctx, name).history()]


def names(ctx: RunContext) -> list[str]:
    """The models that ever had a champion."""
    return sorted(ctx.store.files.names(f"pointers/{POINTERS}"))


def withdrawn(moves: Moves, content: str) -> Champion | None:
    """The rollback that took this package away, unless it came back since."""
    for _, one in reversed(moves):
        if one.content == content:
            return None
        if one.how == "rollback" and one.instead == content:
            return one
    return None


def promote(ctx: RunContext, name: str, version: str, package: ModelPackage, approved: Approved) -> bool:
    """Make `package` the champion after a run, unless it was rolled back; False where pointer and mirror stay so.

    The verdict's report names the champion that the package was held against. The pointer moves only from the state
    in which that one stands, so of two runs that overlap one promotes.

    Raises:
        ConflictError: E_CHAMPION_MOVED.
    """

    def choose(moves: Moves) -> Champion | None:
        now = moves[-1][1] if moves else None
        if now is not None and (now.content, now.version) == (package.content, version):
            return None
        if withdrawn(moves, package.content):
            return None
        check_standing(ctx, name, package, approved.report.rival)
        return Champion(
            content=package.content,
            fingerprint=package.fingerprint,
            version=version,
            run=ctx.name,
            how="forced" if approved.forced else "run",
            **(_said(approved.approval) if approved.approval else {}),
        )

    return _move(ctx, name, choose)


def promote_by(ctx: RunContext, name: str, version: str, approval: Approval) -> bool:
    """Make a registered version the champion on a person's word; False where pointer and mirror stood so.

    Raises:
        ConfigError: E_CONFIG, there is no such version that was verified, or its package is gone.
        IntegrityError: E_DIGEST, the registry has other bytes than the package.
    """
    tags = ctx.tracker.version_tags(name, version)
    if tags.get(VERIFIED_TAG) != "true" or FINGERPRINT_TAG not in tags:
        known = ", ".join(sorted(ctx.tracker.versions(name), key=int))
        raise _unknown("there is no such version that a run registered whole", f"{name} {version}", known)
    content, fingerprint = tags[PACKAGE_TAG], tags[FINGERPRINT_TAG]
    try:
        record = ctx.store.artifact("package", fingerprint).standing()
    except IntegrityError as error:
        raise _unknown("the package of that version is gone from the store", f"{name} {version}", "") from error
    if not intact(ctx, name, version, record):
        raise IntegrityError(
            "E_DIGEST",
            "the registry has other bytes than the package",
            place=f"{name} version {version}",
            action="run its recipe again: it registers the package anew",
        )

    def choose(moves: Moves) -> Champion | None:
        now = moves[-1][1] if moves else None
        if now is not None and (now.content, now.version) == (content, version):
            return None
        return Champion(
            content=content, fingerprint=fingerprint, version=version, run=ctx.name, how="person", **_said(approval)
        )

    return _move(ctx, name, choose)


def roll_back(ctx: RunContext, name: str, approval: Approval) -> bool:
    """Bring back the champion that stood before the one that stands.

    Raises:
        ConfigError: E_CONFIG, none stood before whose package and version are still there.
    """
    registered = ctx.tracker.versions(name)

    def choose(moves: Moves) -> Champion:
        stack = standing(moves)
        now = stack[-1][1] if stack else None
        for epoch, one in reversed(stack[:-1]):
            if now is not None and one.content != now.content and one.version in registered and _kept(ctx, one):
                return one.model_copy(
                    update={"run": ctx.name, "how": "rollback", "to": epoch, "instead": now.content, **_said(approval)}
                )
        raise _unknown("no champion stood before this one", name, "", place="NAME")

    return _move(ctx, name, choose)


def standing(moves: Moves) -> Moves:
    """The champions on top of each other: a promotion lays one on, a rollback takes off what lies above another."""
    stack: list[tuple[int, Champion]] = []
    for epoch, one in moves:
        if one.how != "rollback":
            stack.append((epoch, one))
        while one.how == "rollback" and stack and stack[-1][0] > one.to:
            stack.pop()
    return stack


def mirror(ctx: RunContext, name: str) -> bool:
    """Let the registry's alias name the champion that stands; False where it did.

    Who is last to write looks at the pointer once more, so of several at the same time the newest champion stays.
    """
    pointer, changed = champion_pointer(ctx, name), False
    while (now := pointer.read()) is not None:
        changed |= bool(ctx.tracker.alias(name, CHAMPION, str(now.value["version"])))
        newest = pointer.read()
        if newest is None or newest.epoch == now.epoch:
            break
    return changed


def check_standing(ctx: RunContext, name: str, package: ModelPackage, compared: str) -> None:
    """Raise unless the champion that stands is the one that the package was compared with, or the package itself."""
    now = champion_pointer(ctx, name).read()
    if now is None or now.value["content"] == package.content:
        return
    other = rival(ctx, name, package)
    if (other.content if other else "") != compared:
        raise ConflictError(
            "E_CHAMPION_MOVED",
            f"version {now.value['version']} became the champion while this run was compared with another one",
            place=name,
            action="run the recipe again: it reuses what is done and compares with the new champion",
        )


def rival(ctx: RunContext, name: str, package: ModelPackage) -> ModelPackage | None:
    """The champion to compare `package` with: the newest one that is not `package` itself."""
    for epoch in champion_pointer(ctx, name).newest_first():
        if epoch.value["content"] != package.content:
            fingerprint = str(epoch.value["fingerprint"])
            try:
                return _package(ctx.store.artifact("package", fingerprint).standing(), fingerprint)
            except IntegrityError:
                ctx.progress.warned(f"champion {epoch.value['version']} of {name} is gone from the store: passed over")
    return None


@contextmanager
def fetched(ctx: RunContext, name: str, version: str, record: Record) -> Iterator[Path | None]:
    """What the registry gives back of a version, while the block runs; None unless it has every file with its bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = ctx.tracker.download(name, version, Path(scratch))
        except LookupError as error:
            ctx.progress.warned(f"{name} version {version} is gone from the registry: {error}")
            yield None
            return
        wanted = {Path(one.name).relative_to("model"): one.digest for one in record.files}
        whole = all((folder / path).is_file() and digest_file(folder / path) == of for path, of in wanted.items())
        yield folder if whole else None


def intact(ctx: RunContext, name: str, version: str, record: Record) -> bool:
    """Whether the registry gives back every file of the package with its bytes."""
    with fetched(ctx, name, version, record) as folder:
        return folder is not None


def _move(ctx: RunContext, name: str, choose: Callable[[Moves], Champion | None]) -> bool:
    """Move the pointer to what `choose` says of the moves until then; None leaves it. Then its mirror.

    Somebody else may move it meanwhile: then `choose` is asked again.
    """
    pointer, moved = champion_pointer(ctx, name), False
    while not moved:
        moves = moves_of(ctx, name)
        value = choose(moves)
        if value is None:
            break
        value = value.model_copy(update={"at": datetime.now(UTC).isoformat(timespec="seconds")})
        moved = pointer.move(value.model_dump(mode="json"), after=moves[-1][0] if moves else 0)
    return mirror(ctx, name) or moved


def _said(approval: Approval) -> dict[str, str]:
    return {"who": approval.who, "why": approval.why}


def _kept(ctx: RunContext, one: Champion) -> bool:
    try:
        ctx.store.artifact("package", one.fingerprint).standing()
    except IntegrityError:
        return False
    return True


def _package(record: Record, fingerprint: str) -> ModelPackage:
    return ModelPackage.model_validate(record.meta["artifact"]).model_copy(update={"fingerprint": fingerprint})


def _unknown(what: str, value: str, allowed: str, place: str = "VERSION") -> ConfigError:
    return ConfigError(
        "E_CONFIG",
        what,
        place=place,
        value=value,
        allowed=allowed,
        action="`millrace champions NAME` lists what there was",
    )

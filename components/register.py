"""Approved → ModelVersion: the package in the registry, verified, challenger first and champion by promotion.

Always looks outside: the version that a former run registered may have been deleted since, and is then made again.
The champion is a pointer in the store; the registry's alias mirrors it.
"""

import tempfile
import time
from pathlib import Path

from pydantic import Field

from components.adapters.pointers import Epoch, Pointer
from components.adapters.store import Record, digest_file
from components.adapters.tracking import CHALLENGER, CHAMPION
from components.context import RunContext
from components.contracts.artifacts import Approved, ModelPackage, ModelVersion
from components.contracts.config import StepConfig
from components.contracts.errors import ConflictError, IntegrityError


class RegisterConfig(StepConfig):
    """Where the model goes."""

    name: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9-]{0,62})?$",
        description="name in the registry; the recipe's name where it is empty",
    )


def run(config: RegisterConfig, approved: Approved, package: ModelPackage, *, ctx: RunContext) -> ModelVersion:
    """Register the package once, verify what the registry holds, promote it.

    Raises:
        IntegrityError: E_DIGEST, the registry gives back other bytes than it was given.
        ConflictError: E_CHAMPION_MOVED, the champion is no longer the one that the package was compared with.
    """
    began = time.perf_counter()
    ctx.progress.started("register")
    _check_standing(ctx, config.name, package, approved.report.rival)
    record = ctx.store.artifact("package", package.fingerprint).standing()
    done = []
    version = ctx.tracker.find_version(config.name, package.content)
    if version is not None and not _intact(ctx, config.name, str(version.version), record):
        version = None
        done.append("the registered files were gone or altered")
    if version is None:
        folder = ctx.store.folder(record) / "model"
        version = ctx.tracker.add_version(config.name, folder, package.content, "; ".join(approved.checks))
        if not _intact(ctx, config.name, str(version.version), record):
            raise IntegrityError(
                "E_DIGEST",
                "the registry gave back other bytes than it was given",
                place=f"{config.name} version {version.version}",
                action="check the registry's artifact store",
            )
        done.append(f"version {version.version} registered")
    number = str(version.version)
    ctx.tracker.verify(config.name, number)
    if ctx.tracker.alias(config.name, CHALLENGER, number):
        done.append(CHALLENGER)
    before = ctx.tracker.aliased(config.name, CHAMPION)
    if promote(ctx, config.name, number, package, approved.report.rival):
        done.append(CHAMPION if before in {"", number} else f"{CHAMPION} moved from version {before} to {number}")
    result = ModelVersion(
        name=config.name, version=int(number), aliases=(CHALLENGER, CHAMPION), package=package.fingerprint
    )
    why = ", ".join(done) or "the version, its files and its aliases are as they should be"
    ctx.tell("register", reused=not done, why=why, began=began, result=result)
    return result


def promote(ctx: RunContext, name: str, version: str, package: ModelPackage, compared: str) -> bool:
    """Make `package` the champion: move the pointer, then its mirror in the registry. False where both stood so.

    `compared` is the content of the champion that the package was held against. The pointer moves only from the state
    in which that one stands, so of two runs that overlap one promotes.

    Raises:
        ConflictError: E_CHAMPION_MOVED.
    """
    pointer = champion_pointer(ctx, name)
    now = pointer.read()
    moved = False
    while now is None or (now.value["content"], now.value["version"]) != (package.content, version):
        _check_standing(ctx, name, package, compared)
        value = {"content": package.content, "fingerprint": package.fingerprint, "version": version, "run": ctx.name}
        moved = pointer.move(value, after=now.epoch if now else 0)
        now = pointer.read()
        assert now is not None
    return ctx.tracker.alias(name, CHAMPION, str(now.value["version"])) or moved


def _check_standing(ctx: RunContext, name: str, package: ModelPackage, compared: str) -> None:
    """Raise unless the champion that stands is the one that the package was compared with, or the package itself."""
    now = champion_pointer(ctx, name).read()
    if now is None or now.value["content"] == package.content:
        return
    standing = rival(ctx, name, package)
    if (standing.content if standing else "") != compared:
        raise ConflictError(
            "E_CHAMPION_MOVED",
            f"version {now.value['version']} became the champion while this run was compared with another one",
            place=name,
            action="run the recipe again: it reuses what is done and compares with the new champion",
        )


def champion_pointer(ctx: RunContext, name: str) -> Pointer:
    """The pointer whose value is the champion of `name`."""
    return Pointer(ctx.store, f"champion/{name}")


def rival(ctx: RunContext, name: str, package: ModelPackage) -> ModelPackage | None:
    """The champion to compare `package` with: the newest one that is not `package` itself."""
    history: list[Epoch] = champion_pointer(ctx, name).history()
    for epoch in reversed(history):
        if epoch.value["content"] != package.content:
            fingerprint = str(epoch.value["fingerprint"])
            try:
                return _package(ctx.store.artifact("package", fingerprint).standing(), fingerprint)
            except IntegrityError:
                ctx.progress.warned(f"champion {epoch.value['version']} of {name} is gone from the store: passed over")
    return None


def _package(record: Record, fingerprint: str) -> ModelPackage:
    return ModelPackage.model_validate(record.meta["artifact"]).model_copy(update={"fingerprint": fingerprint})


def _intact(ctx: RunContext, name: str, version: str, record: Record) -> bool:
    """Whether the registry gives back every file of the package with its bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = ctx.tracker.download(name, version, Path(scratch))
        except LookupError as error:
            ctx.progress.warned(f"{name} version {version} is gone from the registry: {error}")
            return False
        for file in record.files:
            path = folder / Path(file.name).relative_to("model")
            if file.name != "model/MLmodel" and (not path.is_file() or digest_file(path) != file.digest):
                return False
    return True

"""Approved → ModelVersion: the package in the registry, verified, challenger first and champion by promotion.

Always looks outside: the version that a former run registered may have been deleted since, and is then made again.
The champion is a pointer in the store; the registry's alias mirrors it.
"""

import time

from pydantic import Field

from components.adapters.tracking import CHALLENGER, CHAMPION
from components.context import RunContext
from components.contracts.artifacts import Approved, ModelPackage, ModelVersion
from components.contracts.config import StepConfig
from components.contracts.errors import IntegrityError
from components.register.promotion import (
    champion_pointer,
    check_standing,
    intact,
    mirror,
    moves_of,
    names,
    promote,
    promote_by,
    rival,
    roll_back,
    withdrawn,
)

__all__ = [
    "RegisterConfig",
    "champion_pointer",
    "mirror",
    "moves_of",
    "names",
    "promote_by",
    "rival",
    "roll_back",
    "run",
]


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
    check_standing(ctx, config.name, package, approved.report.rival)
    record = ctx.store.artifact("package", package.fingerprint).standing()
    done = []
    version = ctx.tracker.find_version(config.name, package.content)
    if version is not None and not intact(ctx, config.name, str(version.version), record):
        version = None
        done.append("the registered files were gone or altered")
    if version is None:
        folder = ctx.store.folder(record) / "model"
        version = ctx.tracker.add_version(config.name, folder, package.content, "; ".join(approved.checks))
        if not intact(ctx, config.name, str(version.version), record):
            raise IntegrityError(
                "E_DIGEST",
                "the registry gave back other bytes than it was given",
                place=f"{config.name} version {version.version}",
                action="check the registry's artifact store",
            )
        done.append(f"version {version.version} registered")
    number = str(version.version)
    ctx.tracker.verify(config.name, number, package.fingerprint)
    if ctx.tracker.alias(config.name, CHALLENGER, number):
        done.append(CHALLENGER)
    before = ctx.tracker.aliased(config.name, CHAMPION)
    if promote(ctx, config.name, number, package, approved):
        done.append(CHAMPION if before in {"", number} else f"{CHAMPION} moved from version {before} to {number}")
    aliases: tuple[str, ...] = (CHALLENGER, CHAMPION)
    back = withdrawn(moves_of(ctx, config.name), package.content)
    if back is not None:
        aliases = (CHALLENGER,)
        ctx.progress.warned(
            f"version {number} stays challenger: {back.who} rolled it back ({back.why}); "
            f"`millrace promote {config.name} {number} --why …` brings it back"
        )
    result = ModelVersion(name=config.name, version=int(number), aliases=aliases, package=package.fingerprint)
    why = ", ".join(done) or "the version, its files and its aliases are as they should be"
    ctx.tell("register", reused=not done, why=why, began=began, result=result)
    return result

"""Approved → ModelVersion: the package in the registry, verified, challenger first and champion by promotion.

Always looks outside: the version that a former run registered may have been deleted since, and is then made again.
Before it counts as verified, the registry's copy has to have the package's bytes and answer as the package did.
The champion is a pointer in the store; the registry's alias mirrors it.
"""

import time

from pydantic import Field

from components.adapters.model_registry import CARD, CARD_TAG, CHALLENGER, CHAMPION, VERIFIED_TAG, Noted
from components.adapters.store import Record
from components.context import RunContext
from components.contracts.artifacts import Approved, ModelPackage, ModelVersion
from components.contracts.config import StepConfig
from components.contracts.errors import IntegrityError
from components.contracts.fingerprint import digest
from components.register.promotion import (
    champion_pointer,
    check_standing,
    fetched,
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
from components.reports.card import model_card
from components.smoke import smoke

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
    use: str = Field("", description="what the model is meant for, and for whom: a section of its card, in Markdown")
    limits: str = Field("", description="what it is not meant for, and what is known to go wrong: another section")


def run(config: RegisterConfig, approved: Approved, package: ModelPackage, *, ctx: RunContext) -> ModelVersion:
    """Register the package once, verify what the registry holds, promote it.

    Raises:
        IntegrityError: E_DIGEST, the registry gives back other bytes than it was given; E_SMOKE, its copy does not
            answer as the package did.
        ConflictError: E_CHAMPION_MOVED, the champion is no longer the one that the package was compared with; E_LEASE,
            the run was declared dead.
    """
    began = time.perf_counter()
    ctx.progress.started("register")
    check_standing(ctx, config.name, package, approved.report.rival)
    record = ctx.store.artifact("package", package.fingerprint).standing()
    done = []
    known = ctx.tracker.versions(config.name)
    version = ctx.tracker.find_version(config.name, package.content)
    if version is not None and not intact(ctx, config.name, str(version.version), record):
        version = None
        done.append("the registered files were gone or altered")
    if version is None:
        folder = ctx.store.folder(record) / "model"
        ctx.store.fence()
        ctx.tracker.add_version(config.name, folder, package.content)
        version = ctx.tracker.first_of(config.name, package.content, known)
        done.append(f"version {version.version} registered")
    number = str(version.version)
    tags = ctx.tracker.version_tags(config.name, number)
    if tags.get(VERIFIED_TAG) != "true":
        _prove(ctx, config.name, number, record)
        ctx.tracker.verify(config.name, number, package.fingerprint)
    noted = _noted(config, approved, package, ctx)
    if tags.get(CARD_TAG) != noted.digest:
        ctx.tracker.describe(config.name, number, noted)
        done += [] if done else ["described"]
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


def _prove(ctx: RunContext, name: str, version: str, record: Record) -> None:
    """Raise unless the registry gives the package back whole, and that answers its example as it did."""
    place = f"{name} version {version}"
    with fetched(ctx, name, version, record) as folder:
        if folder is None:
            raise IntegrityError(
                "E_DIGEST",
                "the registry gave back other bytes than it was given",
                place=place,
                action="check the registry's artifact store",
            )
        smoke(folder, place=place)


def _noted(config: RegisterConfig, approved: Approved, package: ModelPackage, ctx: RunContext) -> Noted:
    """What the version says of itself. A card whose only news would be the run that looked is not written again."""
    report = approved.report
    body = ctx.store.open(ctx.store.artifact("evaluate", report.fingerprint).standing(), CARD).read_text("utf-8")
    origin = {**ctx.origin, "dataset": report.dataset, "evaluation": report.fingerprint}
    said = (config.name, config.use, config.limits)
    checks = "\n".join(f"- {one}" for one in approved.checks)
    lineage = {f"millrace.{name}": value for name, value in origin.items() if value and name != "description"}
    return Noted(
        card=model_card(*said, origin=origin, body=body, checks=approved.checks, content=package.content),
        digest=digest([said, ctx.origin.get("description", ""), body, checks]),
        description=f"{ctx.origin.get('description', '')}\n\n{checks}".strip(),
        tags={**lineage, **{f"test_{name}": f"{one.value:.6g}" for name, one in report.metrics.items()}},
    )

"""Training again: which recipe, what was before, how many rows are new, and the claim that makes it happen once."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components import ingest
from components.adapters.leases import Lease, kept
from components.adapters.pointers import Pointer
from components.adapters.snapshot_rows import read_rows
from components.adapters.store import Store
from components.context import RunContext
from components.contracts.artifacts import Part, RawSnapshot
from components.contracts.errors import ConfigError, ConflictError
from components.contracts.spec import KEY
from components.registered import find, lineage
from components.retrain import Last, Reason, RetrainPolicy
from flows.line import STAGES
from flows.pipeline import PipelineConfig, load_recipe

RENEW_SECONDS, POLL_SECONDS = 20.0, 1.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be trained again, and what asks for it; `due` is a schedule's time."""

    model: str
    reason: Reason
    due: str = ""
    recipe: str = ""
    overrides: Sequence[str] = ()


def recipe_for(order: Order, ctx: RunContext) -> tuple[str, list[str], PipelineConfig]:
    """The recipe's name, all changes to it, and both as a config.

    Raises:
        ConfigError: E_CONFIG, the model has no champion and no recipe was named, or the recipe makes another model.
    """
    recipe, changes = order.recipe, list(order.overrides)
    if not recipe:
        made_of = lineage(ctx, find(ctx, order.model))
        recipe, changes = made_of["recipe"], [*made_of["overrides"], *changes]
    placement = ctx.placement
    config = load_recipe(recipe, changes, placement.data, placement.recipes)
    if config.model_name != order.model:
        raise ConfigError(
            "E_CONFIG",
            "the recipe makes another model",
            place="recipe",
            value=f"{recipe}: {config.model_name}",
            allowed=order.model,
            action="name the recipe of this model, or none",
        )
    more = _own(config.retrain, order.model, ctx)
    if more:
        # What the retraining before changed stands in the champion's own changes: the last of each key counts.
        changes = list({one.partition("=")[0]: one for one in [*changes, *more]}.values())
        config = load_recipe(recipe, changes, placement.data, placement.recipes)
    return recipe, changes, config


def newcomers(order: Order, config: PipelineConfig, ctx: RunContext) -> int | None:
    """How many rows the source has that the champion did not see; None where that is not asked."""
    least = config.retrain.least_new_rows
    if order.reason == "hand" or not (least or order.reason == "data"):
        return None
    stage = STAGES["ingest"]
    raw = ingest.run(stage.config(config), ctx=ctx)
    try:
        results = lineage(ctx, find(ctx, order.model))["results"]
    except ConfigError:
        return raw.rows
    return unseen(raw, ctx.load(RawSnapshot, results["ingest"]), ctx.store)


def unseen(now: RawSnapshot, before: RawSnapshot, store: Store) -> int:
    """How many rows of a snapshot were not in the one before, whatever left in the meantime.

    Parts that both have are not read; of the others, only the rows' keys.
    """
    known = {part.digest for part in before.parts} & {part.digest for part in now.parts}
    gone, new = ([part for part in one.parts if part.digest not in known] for one in (before, now))
    if not gone or not new:
        return sum(part.rows for part in new)
    seen = np.unique(np.concatenate([_keys(part, store) for part in gone]))
    return sum(int(np.isin(_keys(part, store), seen, invert=True).sum()) for part in new)


def _keys(part: Part, store: Store) -> NDArray[np.uint64]:
    return np.asarray(read_rows(store, "ingest", part.key, [KEY])[KEY])


def _own(policy: RetrainPolicy, model: str, ctx: RunContext) -> list[str]:
    """The policy's own changes of the recipe, SINCE being the day from which on rows count."""
    since = datetime.now(UTC) - timedelta(days=policy.days)
    found = [one.replace("SINCE", f"{since:%Y-%m-%d}") for one in policy.overrides]
    if policy.warm and Pointer(ctx.store, f"champion/{model}").read() is not None:
        found.append(f"train.pretrained.weights=models:/{model}@champion")
    return found


def _pointer(ctx: RunContext, model: str) -> Pointer:
    return Pointer(ctx.store, f"retraining/{model}")


class Claim:
    """The right to train a model again, held while its process lives; `last` is what the one before said of itself."""

    def __init__(self, ctx: RunContext, model: str) -> None:
        self._pointer = _pointer(ctx, model)
        now = self._pointer.read()
        self._epoch = now.epoch if now else 0
        self._said: dict[str, Any] = {}
        self.last = Last.model_validate(dict(now.value)) if now else None
        if self.last is not None and self.last.state == "running":
            # Who holds the lease now is not the one that said so.
            self.last = self.last.model_copy(update={"state": "failed"})

    def begin(self, order: Order) -> None:
        """Say that a retraining is under way."""
        due = order.due or (self.last.due if self.last else "")
        self._said = {"at": time.time(), "reason": order.reason, "due": due}
        self._say("running")

    def ended(self, *, well: bool) -> None:
        """Say how it went."""
        self._say("done" if well else "failed")

    def _say(self, state: str) -> None:
        if not self._pointer.move({**self._said, "state": state}, after=self._epoch):
            raise ConflictError(
                "E_LEASE",
                "another process took this retraining for dead and began one of its own",
                place="retraining",
                action="nothing is lost: look at the other run",
            )
        self._epoch += 1


@contextmanager
def claimed(ctx: RunContext, model: str) -> Iterator[Claim | None]:
    """The right to train the model again while the block runs; None where a living process has it."""
    lease = Lease(ctx.store, f"retraining/{model}", os.urandom(6).hex(), RENEW_SECONDS)
    if not _taken(lease):
        yield None
        return
    with kept(lease):
        yield Claim(ctx, model)


def _taken(lease: Lease) -> bool:
    """Take the lease; where somebody has it, wait to see whether they live."""
    first = 0
    while not lease.acquire():
        if first and lease.seen != first:
            return False
        first = lease.seen
        time.sleep(POLL_SECONDS)
    return True

"""Fitted state that is too dear to be found again whenever rows change: it stays until `refit` says otherwise.

A pointer under the recipe's name says which Dataset fitted it, and on which snapshot. That snapshot is an input of
every Dataset that takes the state over, so what a result is made from is known as ever.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.adapters.pointers import Pointer
from components.context import RunContext
from components.contracts.artifacts import Dataset
from components.contracts.errors import IntegrityError
from components.features.feature import State


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A feature's state, and the content of the snapshot that it was fitted on."""

    state: State
    snapshot: str


def dear(features: Sequence[Any]) -> Iterator[Any]:
    """The features whose state is kept."""
    return (feature for feature in features if getattr(feature, "dear", False))


def kept_states(features: Sequence[Any], bases: Mapping[str, str], snapshot: str, ctx: RunContext) -> dict[str, Kept]:
    """By feature, what was fitted on another snapshot than this one; `bases` say what else the state hangs on."""
    found = {}
    for feature in dear(features):
        now = _pointer(feature, ctx).read()
        if now is None or now.value["base"] != bases[feature.name] or now.value["snapshot"] == snapshot:
            continue
        try:
            record = ctx.store.artifact(Dataset.step, now.value["fingerprint"]).standing()
        except IntegrityError:
            continue
        config = feature.model_dump(mode="json")
        state = next(one["state"] for one in record.meta["artifact"]["features"] if one["config"] == config)
        found[feature.name] = Kept(state=state, snapshot=now.value["snapshot"])
    return found


def keep(features: Sequence[Any], bases: Mapping[str, str], dataset: Dataset, ctx: RunContext) -> None:
    """Remember what was fitted here and not taken over."""
    for feature in dear(features):
        if feature.name not in dataset.fitted_on and not ctx.kept:
            value = {
                "base": bases[feature.name],
                "fingerprint": dataset.fingerprint,
                "snapshot": dataset.clean.content,
            }
            _pointer(feature, ctx).set(value)


def _pointer(feature: Any, ctx: RunContext) -> Pointer:
    return Pointer(ctx.store, f"fitted/{ctx.kept or ctx.name}/{feature.name}")

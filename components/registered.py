"""Which package stands under a registered model's name: what serves, scores and teaches."""

from dataclasses import dataclass
from typing import Any

from components.adapters.model_registry import CHAMPION, FINGERPRINT_TAG, PACKAGE_TAG, VERIFIED_TAG
from components.adapters.pointers import Pointer
from components.adapters.store import Store
from components.context import RunContext
from components.contracts.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """Which package is asked for: a version of a model."""

    version: str
    content: str
    fingerprint: str


def named(model: str) -> tuple[str, str]:
    """Name and alias (champion, another one, or a version's number) of NAME[@ALIAS]."""
    name, _, alias = model.partition("@")
    return name, alias or CHAMPION


def find(ctx: RunContext, model: str, place: str = "NAME") -> Place:
    """Which version stands under NAME[@ALIAS] now.

    Raises:
        ConfigError: E_CONFIG, there is none that a run registered whole.
    """
    name, alias = named(model)
    if alias == CHAMPION:
        standing = Pointer(ctx.store, f"champion/{name}").read()
        if standing is None:
            raise _unknown("no model of that name was ever champion", model, place)
        said = standing.value
        return Place(str(said["version"]), str(said["content"]), str(said["fingerprint"]))
    version = alias if alias.isdigit() else ctx.tracker.aliased(name, alias)
    tags = ctx.tracker.version_tags(name, version) if version else {}
    if tags.get(VERIFIED_TAG) != "true":
        raise _unknown("there is no such version that a run registered whole", model, place)
    return Place(version, tags[PACKAGE_TAG], tags[FINGERPRINT_TAG])


def lineage_pointer(store: Store, fingerprint: str) -> Pointer:
    """Where it stands what a package was made of: recipe, overrides, and the result of each step before it."""
    return Pointer(store, f"lineage/{fingerprint}")


def lineage(ctx: RunContext, place: Place) -> dict[str, Any]:
    """`recipe`, `overrides` and `results` (fingerprints by step) of the run that made a package.

    Raises:
        ConfigError: E_CONFIG, its run is of an earlier release, which did not say so.
    """
    known = lineage_pointer(ctx.store, place.fingerprint).read()
    if known is None:
        raise ConfigError(
            "E_CONFIG",
            "nobody noted which rows this package learnt from: its run is of an earlier release",
            place="model",
            value=f"version {place.version}",
            action="run its recipe again: all is reused, and noted",
        )
    return dict(known.value)


def _unknown(what: str, value: str, place: str) -> ConfigError:
    action = "`millrace champions` lists what there is; run a recipe first"
    return ConfigError("E_CONFIG", what, place=place, value=value, action=action)

"""Digests of values and of code: what decides whether a step has been done before.

`Fingerprint` keeps its ingredients, so that the next run can say which one changed. Code covers the step's own
modules and those of every config class in use, with what they import; contracts, the context and the adapters are
cut, since they carry FORMAT numbers and their text may change without changing any result.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from sys import stdlib_module_names
from typing import Any

from blake3 import blake3

from components.contracts.closure import follow, is_own
from components.contracts.config import Frozen, config_classes, custom_modules, identity

DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn", "pytorch_lightning": "pytorch-lightning"}
CUT = ("components.contracts", "components.adapters", "components.context")
REGISTRIES = frozenset(
    f"components.{name}" for name in ("sources", "cleaning", "features", "augment", "models", "objectives")
)
"""Their `__init__` only lists kinds; the kinds in use are followed."""


def canonical(value: Any) -> bytes:
    """`value` as JSON bytes that are equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """32 hexadecimal digits of BLAKE3 over the canonical form."""
    return blake3(canonical(value)).hexdigest(length=16)


def is_cut(name: str) -> bool:
    """Whether the code fingerprint leaves module `name` out."""
    return name == "components" or name in REGISTRIES or any(name == cut or name.startswith(cut + ".") for cut in CUT)


class Code(Frozen):
    """The digest of a step's code and the versions of the libraries that it imports."""

    digest: str
    libraries: dict[str, str]


def code_of(step: str, configs: Any, kinds: Iterable[str] = ()) -> Code:
    """The code that `step` (a module name) runs for `configs`; `kinds` are further modules that it loads by name."""
    classes = {kind.__module__ for kind in config_classes(configs)} | custom_modules(configs)
    seeds = {name for name in (step, *classes, *kinds) if name.partition(".")[0] == "components" or is_own(name)}
    sources = follow(seeds, is_cut)
    libraries = set().union(*(source.libraries for source in sources.values())) - stdlib_module_names
    return Code(
        digest=digest({name: source.digest for name, source in sources.items()}),
        libraries={name: library_version(name) for name in sorted(libraries)},
    )


@cache
def library_version(module: str) -> str:
    """The installed release of the library that ships `module`, without the local part (`+cpu`)."""
    try:
        return metadata.version(DISTRIBUTIONS.get(module, module)).partition("+")[0]
    except metadata.PackageNotFoundError:
        return "absent"


class Fingerprint(Frozen):
    """What a step's result depends on."""

    step: str
    config: Any
    inputs: dict[str, str]
    code: str
    libraries: dict[str, str]
    formats: dict[str, int | str]
    rerun: int = 0

    @property
    def key(self) -> str:
        """The name of the result in the store."""
        return digest(self.model_dump(mode="json"))

    def changes_since(self, old: Mapping[str, Any] | None) -> str:
        """Why this is not `old` (a dumped fingerprint), in a few words for the run's page."""
        if old is None:
            return "first run"
        now = self.model_dump(mode="json")
        said = [
            *_differences("config", old.get("config"), now["config"]),
            *_differences("input", old.get("inputs"), now["inputs"]),
            *(["code"] if old.get("code") != self.code else []),
            *_differences("library", old.get("libraries"), now["libraries"]),
            *(["format"] if old.get("formats") != now["formats"] else []),
            *(["rerun asked"] if old.get("rerun") != self.rerun else []),
        ]
        if not said:
            return "its result was gone"
        return ", ".join(said[:3]) + (f" and {len(said) - 3} more" if len(said) > 3 else "") + " changed"


def _differences(place: str, old: Any, new: Any) -> list[str]:
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [
            said
            for key in keys
            for said in _differences(f"{place}.{key}" if key else f"{place} kind", old.get(key), new.get(key))
        ]
    if place.startswith("input"):
        return [place]
    return [f"{place} {_short(old)} → {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 24 else text[:23] + "…"


def fingerprint(
    step: str, config: Any, inputs: Mapping[str, str], code: Code, *, formats: Mapping[str, int | str], rerun: int = 0
) -> Fingerprint:
    """The fingerprint of one step over its config, the content of its inputs, and its code.

    `formats` are the numbers of what the cut modules write, and the digest of the result's schema.
    """
    return Fingerprint(
        step=step,
        config=json.loads(canonical(identity(config))),
        inputs=dict(inputs),
        code=code.digest,
        libraries=code.libraries,
        formats=dict(formats),
        rerun=rerun,
    )

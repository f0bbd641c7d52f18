"""Kinds by name: a literal mapping in a package's `__init__` from kind to `module:Class`, loaded when it is named.

Module names are relative to the package, so that the same mapping works in a vendored copy of it.
"""

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from components.contracts.errors import ConfigError


def load_kind(package: str, kinds: Mapping[str, str], kind: Any, place: str) -> Any:
    """The class that `kind` names in `package`.

    Raises:
        ConfigError: no such kind; names the nearest one.
    """
    if not isinstance(kind, str) or kind not in kinds:
        near = difflib.get_close_matches(str(kind), kinds, 1, 0.0)
        raise ConfigError(
            "E_CONFIG",
            f"there is no kind of that name; nearest: {near[0]}" if near else "there is no kind of that name",
            place=f"{place}.kind",
            value=kind,
            allowed=", ".join(sorted(kinds)),
            action="name one of these",
        )
    module, _, name = kinds[kind].partition(":")
    return getattr(import_module(f"{package}.{module}"), name)

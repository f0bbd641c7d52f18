"""`--set key.path=value`, applied to a recipe's data before it is checked."""

import re
from typing import Any

from components.contracts.errors import ConfigError
from flows.recipe_files import MAX_DIGITS, parse

KEY = re.compile(r'"([^"]*)"|([^."]+)')


def override(raw: dict[str, Any], text: str) -> None:
    """Apply one `key.path=value`: a key, an index (one past the end appends), a quoted key that holds dots.

    `null` takes a key away, back to the default.

    Raises:
        ConfigError: E_CONFIG, it is not of that form, or nothing is there to set.
    """
    path, equals, value = text.partition("=")
    keys = [quoted or plain for quoted, plain in KEY.findall(path.strip())]
    if not equals or not keys or KEY.sub("", path.strip()).strip("."):
        raise _wrong("an override is key.path=value", path, "write it so")
    node: Any = raw
    for at, key in enumerate(keys[:-1]):
        following: list[Any] | dict[str, Any] = [] if keys[at + 1] == "0" else {}
        node = _child(node, key, ".".join(keys[: at + 1]), following)
    _put(node, keys[-1], _value(value, path), path)


def _value(text: str, path: str) -> Any:
    try:
        return parse(text, f"--set {path}")
    except ConfigError:
        if text.lstrip()[:1] in {"{", "["}:
            raise
        return text


def _child(node: Any, key: str, path: str, new: Any) -> Any:
    if isinstance(node, dict):
        if node.get(key) is None:
            node[key] = new
        return node[key]
    if isinstance(node, list):
        if key == str(len(node)):
            raise _wrong(f"this is a list of {key} items", path, "set the whole item to append it: {kind: ...}")
        return node[_index(node, key, path, len(node) - 1)]
    raise _wrong("nothing is below this key that could be set", path, "correct the key")


def _put(node: Any, key: str, value: Any, path: str) -> None:
    if isinstance(node, list):
        at = _index(node, key, path, len(node))
        node[at : at + 1] = [value]
    elif isinstance(node, dict):
        if key == "kind" and node.get("kind", value) != value:
            # The keys of another kind would all be unknown to this one.
            node.clear()
        if value is None and key in node:
            del node[key]
        else:
            node[key] = value
    else:
        raise _wrong("nothing is below this key that could be set", path, "correct the key")


def _index(node: list[Any], key: str, path: str, most: int) -> int:
    if not key.isascii() or not key.isdecimal() or len(key) > MAX_DIGITS or int(key) > most:
        raise _wrong(
            f"this is a list of {len(node)} items",
            path,
            f"give a number from 0 to {most}" if most >= 0 else "add one first",
        )
    return int(key)


def _wrong(what: str, path: str, action: str) -> ConfigError:
    return ConfigError("E_CONFIG", what, place=f"--set {path}", action=action)

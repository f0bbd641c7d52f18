"""A recipe's mistakes as lines: every one at once, each with its key, what is allowed and the nearest valid name.

Also finds secrets that stand in a recipe. Their values, and those of everything inside them, are never echoed.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from components.contracts.errors import ConfigError, MillraceError, rebuilt
from components.contracts.registry import Kinds, nearest
from flows.recipe_files import parse

SECRET_KEYS = re.compile(
    r"^(.*[_-])?(password|passwd|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)$",
    re.IGNORECASE,
)
SECRET_TEXT = re.compile(
    r"://[^/\s:@]*:(?!\d+/)[^\s@]+@|\bhttps?://[^/\s@]+@"
    r"|\b(AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\b(password|passwd|pwd|passphrase)\s*[=:]\s*\S+"
    r"|(password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|signature|credential)=[^\s&;,]+"
    r"|[?&](sig|sas)=[^\s&#]+|[?&]key=[^\s&#]{16,}",
    re.IGNORECASE,
)
COLUMNS = re.compile(r"^(checks\.columns|source\.rename)$")
"""Mappings whose keys are names of columns, which may be called anything."""
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "min_length": "at least {} of them",
    "max_length": "at most {} of them",
    "pattern": "text that matches {}",
    "expected": "{}",
}


def secrets(value: Any, place: str = "") -> Iterator[str]:
    """Where a secret stands in clear text, as dotted keys; a key that is one itself is told by what holds it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            below = f"{place}.{key}" if place else str(key)
            if SECRET_TEXT.search(str(key)):
                yield place
            elif is_secret_key(str(key)) and not COLUMNS.match(place) and inner not in (None, "", [], {}):
                yield below
            else:
                yield from secrets(inner, below)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from secrets(inner, f"{place}.{number}")
    elif isinstance(value, str) and SECRET_TEXT.search(value):
        yield place


def is_secret_key(key: str) -> bool:
    """Whether what stands under this key is to be kept secret."""
    return SECRET_KEYS.match(CAMEL.sub("_", key)) is not None


def holds_secret(value: Any) -> bool:
    """Whether a secret stands anywhere in `value`."""
    return next(secrets(value), None) is not None


def in_overrides(overrides: Iterable[str]) -> Iterator[str]:
    """The overrides that hold a secret, each by its key; all are recorded, also those that a later one replaces."""
    for text in overrides:
        path, _, value = text.partition("=")
        above, _, key = path.strip().rpartition(".")
        if SECRET_TEXT.search(path):
            yield "--set"
        elif (
            (is_secret_key(key) and not COLUMNS.match(above) and value)
            or holds_secret(value)
            or holds_secret(_plain(value))
        ):
            yield f"--set {path.strip()}"


def _plain(text: str) -> Any:
    try:
        return parse(text, "--set")
    except ConfigError:
        return text


def leaks(found: list[str]) -> list[MillraceError]:
    """One line per secret."""
    return [
        ConfigError(
            "E_SECRET_INLINE",
            "a secret stands here in clear text",
            place=place,
            action="take it out and replace it where it is valid: recipes are kept with every run; "
            "credentials are read from the environment and the libraries' own files",
        )
        for place in found
    ]


def raise_all(found: list[MillraceError]) -> None:
    """Raise the first, if there is one; the others are told with it."""
    if found:
        first = found[0]
        first.others = tuple(found[1:])
        raise first


def mistakes(error: ValidationError, model: type[BaseModel], raw: Any, hidden: list[str]) -> list[MillraceError]:
    """A line per mistake; none about what lies at a `hidden` place."""
    found = error.errors()
    deeper = {one["loc"][:depth] for one in found for depth in range(len(one["loc"]))}
    lines = []
    for one in found:
        # A list whose items are wrong also counts as too short; the items say what is wrong.
        if one["type"] == "too_short" and one["loc"] in deeper:
            continue
        place, keys = _walk(model, raw, one["loc"])
        if not any(place == secret or place.startswith(f"{secret}.") for secret in hidden):
            # A value that holds a secret somewhere below is not shown.
            shown = not any(secret.startswith(f"{place}.") or not place for secret in hidden)
            lines.append(_line(one, place, keys, shown=shown))
    return lines


def _line(one: Any, place: str, keys: list[str], *, shown: bool) -> MillraceError:
    inner = one.get("ctx", {}).get("error")
    if isinstance(inner, ConfigError):
        below = inner.place.rpartition(".")[2]
        place = f"{place}.{below}" if place else inner.place
        value = inner.value if shown else None
        return rebuilt(ConfigError, inner.code, inner.what, place, value, inner.allowed, inner.action)
    kind, value = one["type"], one["input"] if shown else None
    if kind == "extra_forbidden":
        what = "there is no such key" + nearest(place.rpartition(".")[2], keys, 0.5)
        allowed = ", ".join(keys)
        return ConfigError(
            "E_CONFIG", what, place=place, value=value, allowed=allowed, action="correct its name or remove it"
        )
    if kind == "missing":
        return ConfigError("E_CONFIG", "this key is needed", place=place, action="add it")
    context = one.get("ctx", {})
    allowed = ", ".join(text.format(context[name]) for name, text in BOUNDS.items() if name in context)
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        what = "there is no such choice" + nearest(value, choices, 0.5)
    elif allowed:
        what = "the value is not allowed"
    else:
        what = one["msg"].removeprefix("Value error, ").replace("Input should be", "this should be")
        what = what.replace("a valid tuple", "a list").replace("a valid dictionary", "a mapping of keys")
    return ConfigError("E_CONFIG", what, place=place, value=value, allowed=allowed, action="correct the value")


def _walk(model: Any, raw: Any, location: tuple[Any, ...]) -> tuple[str, list[str]]:
    """The dotted key of a place that pydantic names, and the keys that are valid beside it."""
    named: list[str] = []
    annotation: Any = model
    keys: list[str] = []
    for part in location:
        annotation = _class(annotation, raw)
        member = _member(annotation, part)
        if member is not None:
            # The tag of a union is a step of pydantic's and not of the recipe.
            annotation = member
            continue
        keys = _keys(annotation)
        annotation = _inside(annotation, part)
        named.append(str(part))
        raw = raw[part] if _holds(raw, part) else None
    return ".".join(named), keys


def _holds(raw: Any, part: Any) -> bool:
    return (isinstance(raw, dict) and part in raw) or (
        isinstance(raw, list) and isinstance(part, int) and part < len(raw)
    )


def _class(annotation: Any, raw: Any) -> Any:
    """The class behind a kind, and what an Annotated holds."""
    while get_origin(annotation) is Annotated:
        held, *marks = get_args(annotation)
        kinds = next((mark for mark in marks if isinstance(mark, Kinds)), None)
        if kinds is not None and isinstance(raw, dict):
            try:
                return kinds.load(raw)
            except ConfigError:
                return None
        annotation = held
    return annotation


def _member(annotation: Any, tag: Any) -> Any:
    """The member of a union of models whose `kind` is `tag`."""
    for member in get_args(annotation):
        field = getattr(member, "model_fields", {}).get("kind")
        if field is not None and get_origin(field.annotation) is Literal and tag in get_args(field.annotation):
            return member
    return None


def _fields(annotation: Any) -> dict[str, Any]:
    return {field.alias or name: field for name, field in getattr(annotation, "model_fields", {}).items()}


def _keys(annotation: Any) -> list[str]:
    return list(_fields(annotation))


def _inside(annotation: Any, part: Any) -> Any:
    field = _fields(annotation).get(part)
    if field is not None:
        return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    held = [one for one in get_args(annotation) if one is not Ellipsis]
    return held[-1] if held else None

"""Recipes as plain data: found by name, path or address, read safely, put together with `extends`.

What the data mean is pipeline.py's business. Nothing here runs or imports anything that a recipe names.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import yaml

from components.adapters.blobs import split_glob
from components.contracts.errors import ConfigError, EnvironmentFault, rebuilt
from components.contracts.registry import nearest

SHIPPED = Path(__file__).with_name("recipes")
MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_PARENTS = 8
MAX_DIGITS = 64
MERGE = "tag:yaml.org,2002:merge"
INTEGER = "tag:yaml.org,2002:int"
EXTENDS = "extends"
ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]*://")


class Loader(yaml.SafeLoader):
    """Plain data only: a key that stands twice, an alias and deep nesting are errors."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases and depth before they cost anything."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels are not allowed", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Refuse a key that stands twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == MERGE:
                raise yaml.MarkedYAMLError(problem="merging mappings is not allowed", problem_mark=key.start_mark)
            if isinstance(key.value, str) and key.value in seen:
                raise yaml.MarkedYAMLError(problem="a key stands twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> Any:
        """Refuse text that no file can hold, and numbers that no field can."""
        text = super().construct_scalar(node)
        if any("\ud800" <= sign <= "\udfff" for sign in text) or (node.tag == INTEGER and len(text) > MAX_DIGITS):
            raise yaml.MarkedYAMLError(problem="this is neither text nor a number", problem_mark=node.start_mark)
        return text


@dataclass
class RecipeFile:
    """What a recipe says, with those that it extends; `folders` are theirs, its own first, without the shipped one."""

    raw: dict[str, Any]
    folders: list[Path] = field(default_factory=list)


def names(folder: Path | None = None) -> list[str]:
    """The recipes that a name finds: the shipped ones and those in the user's `folder`."""
    return sorted({path.stem for place in (SHIPPED, folder) if place for path in place.glob("*.yaml")})


def find(recipe: str, folder: Path | None = None) -> str:
    """The path or address of a recipe: a name in the user's folder or among the shipped ones, a path, an address.

    Raises:
        ConfigError: E_CONFIG, there is none; names the nearest.
    """
    if ADDRESS.match(recipe):
        return recipe
    with suppress(OSError):
        for place in (folder, SHIPPED):
            if place is not None and (place / f"{recipe}.yaml").is_file():
                return str(place / f"{recipe}.yaml")
        if Path(recipe).is_file():
            return recipe
    known = names(folder)
    raise ConfigError(
        "E_CONFIG",
        f"there is no such recipe or file{nearest(recipe, known)}",
        place="recipe",
        value=recipe,
        allowed=", ".join(known) + ", a path or an address",
        action="name one of these",
    )


def read(place: str, folder: Path | None = None, check: Callable[[str, str], None] = lambda *_: None) -> RecipeFile:
    """The recipe at a path or address, laid over the ones that it extends; `check(text, place)` sees each first.

    Raises:
        ConfigError: E_CONFIG, it is not plain YAML, or extends what is not there or itself.
        EnvironmentFault: E_SERVER_UNREACHABLE, an address does not answer.
    """
    chain: list[tuple[str, dict[str, Any]]] = []
    while True:
        raw = parse(_bytes(place), place)
        if not isinstance(raw, dict):
            raise ConfigError("E_CONFIG", "a recipe is a mapping of keys", place=place, action="correct the YAML")
        parent = raw.pop(EXTENDS, None)
        chain.append((place, raw))
        if parent is None:
            break
        if "name" not in raw:
            what = "a recipe that extends another needs a name of its own"
            raise ConfigError("E_CONFIG", what, place=f"{place}: name", action="add it")
        check(str(parent), EXTENDS)
        try:
            place = _parent(place, parent, folder)
        except ConfigError as error:
            named = f"{place}: {EXTENDS}"
            raise rebuilt(
                ConfigError, error.code, error.what, named, error.value, error.allowed, error.action
            ) from None
        if place in [one for one, _ in chain] or len(chain) > MAX_PARENTS:
            what = "it extends itself" if len(chain) <= MAX_PARENTS else f"more than {MAX_PARENTS} are extended"
            action = "let it extend a recipe that stands alone"
            raise ConfigError("E_CONFIG", what, place=f"{chain[0][0]}: {EXTENDS}", value=parent, action=action)
    laid: dict[str, Any] = {}
    for _, raw in reversed(chain):
        laid = over(laid, raw)
    folders = [Path(one).absolute().parent for one, _ in chain if not ADDRESS.match(one)]
    return RecipeFile(raw=laid, folders=[one for one in folders if one != SHIPPED])


def _parent(place: str, parent: Any, folder: Path | None) -> str:
    if not isinstance(parent, str):
        action = "name one recipe"
        raise ConfigError("E_CONFIG", "this is a name, path or address", place=EXTENDS, value=parent, action=action)
    if ADDRESS.match(parent):
        return parent
    if ADDRESS.match(place):
        shipped = SHIPPED / f"{parent}.yaml"
        return str(shipped) if shipped.is_file() else urljoin(place, parent)
    beside = Path(place).parent / parent
    return str(beside) if beside.is_file() else find(parent, folder)


def over(below: Any, above: Any) -> Any:
    """`above` laid over `below`: mappings key by key, unless they are of another kind; all else is replaced.

    `null` takes away what stands below, back to the default.
    """
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if "kind" in above and above["kind"] != below.get("kind"):
        return above
    gone = {key for key, value in above.items() if value is None and key in below}
    laid = {**below, **{key: over(below.get(key), value) for key, value in above.items()}}
    return {key: value for key, value in laid.items() if key not in gone}


def parse(text: bytes | str, place: str) -> Any:
    """YAML as plain data; a mistake is told by its line, without a word of the text."""
    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader, made stricter
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" (line {mark.line + 1})" if mark else ""
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError("E_CONFIG", f"{said}{line}", place=place, action="correct the YAML") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        what = f"this is not YAML text ({type(error).__name__})"
        raise ConfigError("E_CONFIG", what, place=place, action="correct the YAML") from None


def _bytes(place: str) -> bytes:
    try:
        body = _fetched(place) if ADDRESS.match(place) else _head(Path(place))
    except EnvironmentFault:
        raise
    except OSError as error:
        action = "correct the path or address"
        said = error.strerror or " ".join(str(error).split())
        raise ConfigError("E_CONFIG", f"it cannot be read ({said})", place=place, action=action) from None
    if len(body) > MAX_BYTES:
        raise ConfigError(
            "E_CONFIG", f"the file is larger than {MAX_BYTES} bytes", place=place, action="a recipe is a page of text"
        )
    return body


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _fetched(address: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(address, "rb") as file:
            body: bytes = file.read(MAX_BYTES + 1)
            return body
    except FileNotFoundError as error:
        # A web server that is not there is told as a file that is not there.
        if error.__cause__ is None or not type(error.__cause__).__name__.startswith("ClientConnect"):
            raise
        raise _unreachable(error.__cause__, address) from error
    except ValueError as error:
        said = " ".join(str(error).split())
        action = "use a path, https:// or s3://"
        raise ConfigError("E_CONFIG", f"no such kind of address ({said})", place=address, action=action) from None
    except Exception as error:
        raise _unreachable(error, address) from error


def _unreachable(error: BaseException, address: str) -> EnvironmentFault:
    said = " ".join(str(error).split())[:160] or type(error).__name__
    return EnvironmentFault(
        "E_SERVER_UNREACHABLE",
        f"the recipe cannot be fetched ({said})",
        place=address,
        action="check the address and the network",
    )


def placed(file: RecipeFile, data: Path | None) -> None:
    """Find a relative `source.uri` under `data`, beside the recipe or one that it extends, or here.

    A source of another source's rows (`of`) is looked into.
    """
    source = file.raw.get("source")
    while isinstance(source, dict) and isinstance(source.get("of"), dict):
        source = source["of"]
    if not isinstance(source, dict):
        return
    uri = source.get("uri")
    folders: Iterable[Path] = [folder for folder in (data, *file.folders) if folder is not None]
    if isinstance(uri, str) and folders and not ADDRESS.match(uri) and uri[:1] not in {"/", "~"}:
        tried = [*(folder / uri for folder in folders), Path(uri)]
        with suppress(OSError):
            source["uri"] = str(next((path for path in tried if Path(split_glob(str(path))[0]).exists()), tried[0]))

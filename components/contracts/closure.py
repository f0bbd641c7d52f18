"""Which modules of the project a module runs: followed statically, by file, without importing anything.

Used twice: to fingerprint a step's code, and to copy a model's private code into its package. Statements are followed
also inside functions; a registry's `__init__` is a literal mapping and so a leaf: the kinds in use are seeds of their
own. A user's own modules count as the project's: those that are importable and neither installed nor Python's.
"""

import ast
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from blake3 import blake3

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds `components` and `flows`."""

PROJECT = ("components", "flows")
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Where statements have statements: what is imported is found without looking at expressions."""
INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, kw_only=True)
class Source:
    """One parsed module: `digest` covers its code without comments and docstrings."""

    name: str
    path: Path
    digest: str
    imports: frozenset[str]
    libraries: frozenset[str]


def own_root(top: str) -> Path | None:
    """The folder of the top-level module or package `top` where that is a user's own, else None."""
    if top in PROJECT or top in sys.stdlib_module_names or not top.isidentifier() or top == "__main__":
        return None
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    origin = places[0] if places else spec.origin if spec else None
    if origin is None or not Path(origin).exists():
        return None
    root = Path(origin).resolve().parent
    installed = INSTALLED & set(root.parts) or root.is_relative_to(sysconfig.get_path("stdlib"))
    return None if installed else root


def is_own(name: str) -> bool:
    """Whether module `name` is a user's own."""
    return own_root(name.partition(".")[0]) is not None


def module_path(name: str, root: Path = ROOT) -> Path | None:
    """The file of module `name`, or None where it is neither the project's (under `root`) nor a user's own."""
    top = name.partition(".")[0]
    folder = root if top in PROJECT else own_root(top)
    if folder is None:
        return None
    base = folder.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def read_module(name: str, root: Path = ROOT) -> Source:
    """Parse module `name`; memoised by the file's size and time of change.

    Raises:
        ModuleNotFoundError: no file of the project has that name.
    """
    path = module_path(name, root)
    if path is None:
        raise ModuleNotFoundError(name)
    stat = path.stat()
    return _parse(name, path, stat.st_mtime_ns, stat.st_size, root)


@cache
def _parse(name: str, path: Path, _mtime: int, _size: int, root: Path) -> Source:
    tree = ast.parse(path.read_bytes(), filename=str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imports: set[str] = set()
    libraries: set[str] = set()
    for node in _statements(tree):
        for target in _targets(node, package):
            if target.partition(".")[0] not in PROJECT and not is_own(target):
                libraries.add(target.partition(".")[0])
                continue
            module = _module_of(target, root)
            if module:
                imports.add(module)
    digest = blake3(ast.unparse(tree).encode()).hexdigest()
    return Source(name=name, path=path, digest=digest, imports=frozenset(imports), libraries=frozenset(libraries))


def _module_of(target: str, root: Path) -> str:
    """`target` may name something in a module; the module."""
    while target and module_path(target, root) is None:
        target = target.rpartition(".")[0]
    return target


def _targets(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
        return [f"{base}.{alias.name}" for alias in node.names]
    return []


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements, without docstrings and what only type checkers see, which are taken out of the tree."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            node.body = [ast.Pass()]
        body = getattr(node, "body", None)
        if body and _is_text(body[0]):
            node.body = [item for item in body if not _is_text(item)] or [ast.Pass()]  # type: ignore[attr-defined]
        for name in BLOCKS:
            waiting += getattr(node, name, ())
        yield node


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def follow(seeds: Iterable[str], cut: Callable[[str], bool], root: Path = ROOT) -> dict[str, Source]:
    """Every module that `seeds` run, themselves included, except where `cut(name)` holds; parents' `__init__` too."""
    found: dict[str, Source] = {}
    waiting = sorted(set(seeds))
    while waiting:
        name = waiting.pop()
        if name in found or cut(name):
            continue
        found[name] = source = read_module(name, root)
        parents = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
        # A folder without an __init__ is a package all the same, of which there is nothing to read.
        parents = [one for one in parents if module_path(one, root) is not None]
        waiting += [target for target in (*source.imports, *parents) if target not in found]
    return found

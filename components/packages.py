"""A package's folder: where its parts lie, how its private code is made, and how it is opened.

Private code is the import closure of components/predictor.py and the kinds in use, copied under a name made from its
own digest, with relative imports inside. So two packages of different ages answer in one process, each with its own
code, also beside the project itself. A user's own modules travel below `own`.
"""

import ast
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from components.contracts.closure import ROOT, Source, follow, is_own, own_root
from components.contracts.config import config_classes, custom_modules
from components.contracts.errors import CODES, ConfigError, DataError, rebuilt
from components.contracts.fingerprint import DISTRIBUTIONS, REGISTRIES, digest, library_version
from components.contracts.registry import OWN, load_kind

ROOT_MODULE = "components.predictor"
ERRORS = "components.contracts.errors"
LIBRARIES = ("mlflow", "numpy", "pandas", "pyarrow", "pydantic", "blake3", "safetensors", "torch", "pillow")
FITTING = {"sklearn"}
"""What features import when they are fitted, and not to answer."""
PARTS = "artifacts/package"
"""Where model.json and the weights lie in an MLflow model folder."""


@dataclass(frozen=True, kw_only=True)
class PrivateCode:
    """The code that travels with one package.

    `name` hangs on all of it, comments left out; `behaviour` leaves out the texts of errors and the lists of kinds as
    well, so that a change there does not make a new package. `own` are the user's top-level packages in it, and
    `libraries` what these and the features import.
    """

    name: str
    behaviour: str
    files: dict[str, str]
    own: frozenset[str]
    libraries: dict[str, str]


def private_code(kinds: Iterable[str]) -> PrivateCode:
    """The import closure of the predictor and of the kinds' modules, with relative imports."""
    sources = follow([ROOT_MODULE, *kinds], cut=lambda _: False)
    digests = {name: source.digest for name, source in sources.items()}
    behaviour = {name: value for name, value in digests.items() if name not in (REGISTRIES | {ERRORS})}
    own = [source for name, source in sources.items() if is_own(name)]
    features = [source for name, source in sources.items() if name.startswith("components.features.")]
    imported = set().union(*(source.libraries for source in features)) - FITTING - {*LIBRARIES, "PIL"}
    imported = imported.union(*(source.libraries for source in own)) - sys.stdlib_module_names
    versions = {DISTRIBUTIONS.get(name, name): library_version(name) for name in sorted(imported)}
    return PrivateCode(
        name=f"millrace_{digest(digests)[:12]}",
        behaviour=digest(behaviour),
        files={_place(source): _relative(source) for source in sources.values()},
        own=frozenset(source.name.partition(".")[0] for source in own),
        libraries={name: version for name, version in versions.items() if version != "absent"},
    )


def _place(source: Source) -> str:
    """Where a module goes in the private code."""
    root = own_root(source.name.partition(".")[0])
    if root is None:
        return source.path.relative_to(ROOT / "components").as_posix()
    return f"{OWN}/{source.path.resolve().relative_to(root).as_posix()}"


def carried(roots: Sequence[str]) -> dict[str, str]:
    """The modules of `roots` with all that they import of the project, by their places, with relative imports."""
    return {_place(source): _relative(source) for source in follow(roots, cut=lambda _: False).values()}


def library_versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """The installed versions of libraries: of what a package needs to answer."""
    return {name: library_version(name) for name in names}


def _relative(source: Source) -> str:
    """The module's text with relative imports of what travels with it."""
    inside = PurePosixPath(_place(source)).parent.parts
    text = source.path.read_text(encoding="utf-8-sig").encode()
    lines = text.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    # From the last one on, so that places before it stay.
    for node in sorted(imports, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        if isinstance(node, ast.Import):
            _carriable(node, source)
            continue
        top = (node.module or "").partition(".")[0]
        if node.level or not (top == "components" or is_own(top)):
            continue
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        module = (node.module or "").removeprefix("components").removeprefix(".") if top == "components" else ""
        node.module, node.level = module or (f"{OWN}.{node.module}" if is_own(top) else None), len(inside) + 1
        text = text[:begin] + ast.unparse(node).encode() + text[end:]
    return text.decode()


def _carriable(node: ast.Import, source: Source) -> None:
    for alias in node.names:
        if alias.name.partition(".")[0] == "components" or is_own(alias.name):
            raise ConfigError(
                "E_CONFIG",
                "a module that has to travel in the package is imported in a way that it cannot carry",
                place=f"{source.path}:{node.lineno}",
                value=ast.unparse(node),
                action=f"write it as `from {alias.name} import ...`",
            )


def kind_modules(package: str, kinds: dict[str, str], used: Sequence[Mapping[str, Any]]) -> list[str]:
    """The modules that define the kinds of the `used` configs of `components.<package>`."""
    loaded = [load_kind(f"components.{package}", kinds, config, package).model_validate(config) for config in used]
    # A config may hold others, and a custom target may only be imported in the module that it names.
    return sorted({one.__module__ for one in config_classes(loaded)} | custom_modules(loaded))


def open_package(folder: Path) -> Any:
    """The predictor of the MLflow model folder `folder`, with its own code.

    Check the files' digests first: this runs that code.
    """
    code = folder / "code"
    (name,) = [path.name for path in code.iterdir() if path.name.startswith("millrace_")]
    return load_predictor(code, name, folder / PARTS)


def told_of(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What a package's MLflow model folder says of itself, and the Python and the libraries that it asks for."""
    said: dict[str, Any] = json.loads((folder / PARTS / "model.json").read_bytes())
    python = (folder / "python_env.yaml").read_text(encoding="utf-8").splitlines()[0]
    return said, [python, *(folder / "requirements.txt").read_text(encoding="utf-8").split()]


def load_predictor(code: Path, name: str, parts: Path) -> Any:
    """The predictor of the `parts` of a package (model.json, weights), with the private code `name` below `code`."""
    loaded = sys.modules.get(name)
    if loaded is not None and not Path(loaded.__path__[0]).is_dir():
        forget(name)
    before = sys.dont_write_bytecode
    sys.path.insert(0, str(code))
    sys.dont_write_bytecode = True
    try:
        return import_module(f"{name}.predictor").Predictor(parts)
    finally:
        sys.dont_write_bytecode = before
        sys.path.remove(str(code))


@contextmanager
def own_errors(action: str) -> Iterator[None]:
    """Turn an error of a package's private code, which has classes of its own, into one of ours."""
    try:
        yield
    except ValueError as error:
        code = getattr(error, "code", "")
        if isinstance(error, DataError) or code not in CODES:
            raise
        parts = (getattr(error, name) for name in ("what", "place", "value", "allowed"))
        raise rebuilt(DataError, code, *parts, action) from error


def forget(name: str) -> None:
    """Unload the private package `name`, whose files are about to go or are gone."""
    for module in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
        del sys.modules[module]

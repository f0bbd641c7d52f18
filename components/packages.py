"""A package's folder: where its parts lie, how its private code is made, and how it is opened.

Private code is the import closure of components/predictor.py and the kinds in use, copied under a name made from its
own digest, with relative imports inside. So two packages of different ages answer in one process, each with its own
code, also beside the project itself.
"""

import ast
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from blake3 import blake3

from components.contracts.closure import ROOT, follow
from components.contracts.registry import load_kind

ROOT_MODULE = "components.predictor"
PARTS = "artifacts/package"
"""Where model.json and the weights lie in an MLflow model folder."""


def private_code(kinds: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The name of the private package and its files' text, for the kinds' modules."""
    sources = follow([ROOT_MODULE, *kinds], cut=lambda _: False)
    files = {}
    for name, source in sources.items():
        files[source.path.relative_to(ROOT / "components").as_posix()] = _relative(source.path, name)
    hasher = blake3()
    for path in sorted(files):
        hasher.update(f"{path}\0{files[path]}\0".encode())
    return f"millrace_{hasher.hexdigest(length=6)}", files


def _relative(path: Path, name: str) -> str:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    dots = "." * len(package.split("."))
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "components":
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = re.sub(r"from components\.?([\w.]*) import", rf"from {dots}\1 import", line)
    return "\n".join(lines)


def kind_modules(package: str, kinds: dict[str, str], used: Iterable[str]) -> list[str]:
    """The modules of `components.<package>` that define the used kinds."""
    return sorted({load_kind(f"components.{package}", kinds, kind, package).__module__ for kind in used})


def open_package(folder: Path) -> Any:
    """The predictor of the MLflow model folder `folder`, with its own code.

    Check the files' digests first: this runs that code.
    """
    code = folder / "code"
    (name,) = [path.name for path in code.iterdir() if path.name.startswith("millrace_")]
    loaded = sys.modules.get(name)
    if loaded is not None and not Path(loaded.__path__[0]).is_dir():
        forget(name)
    sys.path.insert(0, str(code))
    try:
        module = import_module(f"{name}.predictor")
    finally:
        sys.path.remove(str(code))
    return module.Predictor(folder / PARTS)


def forget(name: str) -> None:
    """Unload the private package `name`, whose files are about to go or are gone."""
    for module in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
        del sys.modules[module]

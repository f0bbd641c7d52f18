"""Writes errors.md: every code with its meaning, its exit code and where it is raised. `make docs`."""

import ast
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_name("errors.md")
HEAD = """# Error codes

Written by `make docs` from the code. Every error that is the user's or the machine's is one line: code, place, what
happened, the value, what is allowed, what to do. Scripts may match on the codes; none is ever renamed. Exit codes: 1
the machine, a server or a defect of Millrace; 2 the recipe, the data or a setting; 75 interrupted. What `millrace
serve` answers to requests has a status of HTTP instead.

| code | exit | meaning | raised by |
|---|---|---|---|
"""


def raised():
    """The meanings of all codes, and code to (module, exit code); a row's reason ends nothing and has no exit code."""
    sys.path.insert(0, str(ROOT))
    from components.contracts import errors

    found = defaultdict(set)
    for folder in ("components", "flows"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = path.relative_to(ROOT).as_posix()
            if path.name == "errors.py":
                continue
            tree = ast.parse(path.read_text())
            direct = {
                (code, f"HTTP {kind}" if kind.isdigit() else str(getattr(errors, kind).exit_code))
                for code, kind in codes(tree)
            }
            tables = {node.value for node in ast.walk(tree) if is_code(node)} - {code for code, _ in direct}
            for code, number in direct:
                found[code].add((module, number))
            for code in tables:
                found[code].add((module, "1" if module.startswith("components/adapters/") else ""))
    return errors.CODES, found


def codes(tree):
    """Every code that the module raises itself, with the error's class, or of an answer over HTTP its status."""
    for node in ast.walk(tree):
        named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if named and node.func.id.endswith(("Error", "Fault")):
            status = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
            kind = str(status) if isinstance(status, int) else node.func.id
            for argument in node.args:
                yield from (
                    (leaf.value, kind) for leaf in ast.walk(argument) if is_code(leaf) and kind != "RefusedError"
                )


def is_code(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("E_")


def page():
    meanings, found = raised()
    rows = []
    for code, meaning in sorted(meanings.items()):
        modules = ", ".join(sorted({module for module, _ in found[code]}))
        exits = ", ".join(sorted({number for _, number in found[code]} - {""})) or "a row's reason"
        rows.append(f"| `{code}` | {exits} | {meaning} | {modules} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())

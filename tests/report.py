"""`make report`: how large the project is and how it is cut: lines per layer, medians, files a change touches, tests."""

import ast
import json
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lines_of(path):
    return len(path.read_text().splitlines())


def layer(path):
    """The folder of components or flows that a module belongs to; a step's own file counts as a step."""
    parts = path.relative_to(ROOT).parts
    if parts[0] != "components":
        return parts[0]
    return f"components/{parts[1]}" if len(parts) > 2 else "components (steps, context, predictor)"


def functions(paths):
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node.end_lineno - node.lineno + 1


def touched():
    """How many files each of the last 50 commits touched."""
    log = subprocess.run(
        ["git", "log", "-50", "--name-only", "--pretty=format:#%h"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [len(one.split()) - 1 for one in log.split("#")[1:]]


def tests():
    """How many tests each marker has, and how many the default suite."""
    counts = Counter()
    for marker in ("", "faults", "e2e", "bad_input"):
        command = [sys.executable, "-m", "pytest", "--collect-only", *(["-m", marker] if marker else [])]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
        found = re.search(r"(\d+)(?:/\d+)? tests? collected", said)
        counts[marker or "default"] = int(found[1]) if found else 0
    return dict(counts)


def main():
    code = sorted([*(ROOT / "components").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])
    per_layer = Counter()
    for path in code:
        per_layer[layer(path)] += lines_of(path)
    per_layer["tests"] = sum(map(lines_of, (ROOT / "tests").rglob("*.py")))
    sizes, lengths, files = [lines_of(path) for path in code], list(functions(code)), touched()
    report = {
        "lines": dict(per_layer),
        "modules": {"number": len(sizes), "median": statistics.median(sizes), "longest": max(sizes)},
        "functions": {"number": len(lengths), "median": statistics.median(lengths), "longest": max(lengths)},
        "files_a_commit": {"commits": len(files), "median": statistics.median(files)},
        "tests": tests(),
    }
    (ROOT / ".reports").mkdir(exist_ok=True)
    (ROOT / ".reports" / "report.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

"""A folder for devices: graph, feature code, and what both have to know; needs numpy and onnxruntime."""

import json
import shutil
import subprocess
import sys
import zipfile
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.contracts.errors import ConfigError, IntegrityError
from components.exports.device_answers import DECODE
from components.exports.device_cells import OPERATIONS
from components.exports.device_inputs import DECODERS, INPUTS
from components.packages import carried, library_versions

CODE = "millrace_device"
LOADER = '''"""Rows in, answers out: `python predict.py rows.json`, or `from predict import Device`."""

from pathlib import Path

from {code}.exports.device import Device, main

__all__ = ["Device"]
FOLDER = Path(__file__).parent

if __name__ == "__main__":
    main()
'''


TRY = """
import base64, json, math, sys
sys.path.insert(0, sys.argv[1])
from predict import Device, FOLDER

def alike(one, other):
    if isinstance(other, dict):
        return all(alike(one[name], cell) for name, cell in other.items())
    if isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-4)
    return one == other

rows, wanted = json.load(sys.stdin)
for row in rows:
    for name, cell in row.items():
        if isinstance(cell, dict):
            row[name] = base64.b64decode(cell["file"])
for number, (one, other) in enumerate(zip(Device(FOLDER).predict(rows), wanted), 1):
    if not alike(one, other):
        sys.exit(f"row {number}: {one}, and not {other}")
"""


def check_device(said: dict[str, Any]) -> None:
    """Raise E_CONFIG where the package of model.json `said` does something that a bundle cannot do."""
    types = {one["name"]: one["type"] for one in said["raw"]}
    retyped = [one["name"] for one in said["columns"] if types.get(one["name"], one["type"]) != one["type"]]
    wrong: list[tuple[str, str, Iterable[str]]] = [
        ("features", one["config"]["kind"], INPUTS) for one in said["features"] if one["config"]["kind"] not in INPUTS
    ]
    wrong += [
        ("cleaning", one["kind"], OPERATIONS) for one in said["operations"] if one["kind"] not in OPERATIONS or retyped
    ]
    if said["objective"]["kind"] not in DECODE:
        wrong.append(("objective.kind", said["objective"]["kind"], DECODE))
    for place, kind, known in wrong[:1]:
        raise ConfigError(
            "E_CONFIG",
            "a bundle for devices cannot do this",
            place=place,
            value=kind,
            allowed=", ".join(sorted(known)),
            action="set compress.bundle to false, or change the recipe",
        )


def write_bundle(said: dict[str, Any], graph: Path, folder: Path) -> None:
    """Fill `folder` for the package of model.json `said`, whose graph is `graph`."""
    folder.mkdir()
    for name, text in carried(["components.exports.device"]).items():
        path = folder / CODE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for one in {path.parent for path in (folder / CODE).rglob("*.py")} | {folder / CODE}:
        (one / "__init__.py").touch()
    shutil.copyfile(graph, folder / "model.onnx")
    (folder / "device.json").write_text(json.dumps(_device(said)), encoding="utf-8")
    (folder / "predict.py").write_text(LOADER.format(code=CODE), encoding="utf-8")
    (folder / "requirements.txt").write_text(_requirements(said), encoding="utf-8")


def check_bundle(folder: Path, engine: Any, asked: pa.Table) -> None:
    """Raise E_SMOKE unless the bundle answers raw rows, in a process without this project, as its graph does here."""
    columns = [one["name"] for one in json.loads((folder / "device.json").read_bytes())["columns"]]
    told = [asked.select(columns).to_pylist(), engine.predict(asked).table().to_pylist()]
    done = subprocess.run(
        [sys.executable, "-I", "-c", TRY, str(folder)],
        input=json.dumps(told, default=lambda cell: {"file": b64encode(cell).decode()}),
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise IntegrityError(
            "E_SMOKE",
            "the bundle does not answer as its model does",
            place="compress.bundle",
            value=said[:300],
            action="set compress.bundle to false, and tell the maintainers",
        )


def pack(path: Path) -> Path:
    """A file, or a folder with all below it, as a .zip beside it, the same bytes each time."""
    place = path.with_name(f"{path.name}.zip")
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for one in files:
            info = zipfile.ZipInfo(one.relative_to(path.parent).as_posix(), (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, one.read_bytes())
    return place


def _device(said: dict[str, Any]) -> dict[str, Any]:
    needed, target = set(said["needed"]), said["target"]
    column = next((one for one in said["columns"] if one["name"] in _columns(target["config"])), None)
    return {
        "columns": [
            {name: one[name] for name in ("name", "type", "nullable")} for one in said["raw"] if one["name"] in needed
        ],
        "operations": said["operations"],
        "features": [
            {"kind": one["config"]["kind"], "config": one["config"], "state": one["state"]} for one in said["features"]
        ],
        "target": target["config"],
        "state": {name: target["state"][name] for name in ("scale", "centre") if name in target["state"]},
        "classes": target["state"].get("classes", []),
        "whole": bool(column and column["type"] == "int64"),
        "objective": said["objective"],
        "decision": {"temperature": 1.0, "thresholds": {}, "columns": [], **said.get("decision", {})},
    }


def _columns(config: dict[str, Any]) -> list[str]:
    return [*config.get("columns", ()), config.get("column", "")]


def _requirements(said: dict[str, Any]) -> str:
    lines = [f"{name}=={version}" for name, version in library_versions(("numpy", "onnxruntime")).items()]
    for one in said["features"]:
        if one["config"]["kind"] in DECODERS:
            kind = one["config"]["kind"]
            lines.append(f"# Of the files of an {kind} itself, and not of decoded ones: {DECODERS[kind]}")
    return "\n".join(lines) + "\n"

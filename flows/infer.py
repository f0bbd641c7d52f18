"""What a source's columns seem to be, as checks for a recipe: a proposal that a person reads before it holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from components import ingest
from components.cleaning.typed import fits
from components.context import open_context
from components.contracts.placement import Placement
from components.contracts.spec import Column
from components.ingest.samples import LONGEST
from components.sources.files import FilesSource
from components.validate.data_report import sample_of
from flows.pipeline import load_recipe

GUESSES = ("int64", "float64", "date", "timestamp")
"""What text may stand for, the narrowest first; a code with leading zeros stays text."""
MOST_VALUES = 20
ROWS_A_VALUE = 20
"""Texts are taken for categories where each of few values stands so often."""


def checks_of(placement: Placement, source: str, overrides: Sequence[str]) -> str:
    """The proposal as YAML; `source` is a recipe, or a file or folder that `files` reads."""
    if Path(source).exists() and Path(source).suffix not in {".yaml", ".yml"}:
        read: Any = FilesSource(uri=source)
    else:
        read = load_recipe(source, overrides, placement.data, placement.recipes).source
    ctx = open_context(placement, "infer")
    raw = ingest.run(ingest.IngestConfig(source=read, set_aside_files=True), ctx=ctx)
    sample = sample_of(ctx.store, raw)
    types = {column.name: column.type for column in raw.columns}
    columns = {name: proposed(sample[name], types[name]) for name in sample.column_names}
    head = f"# From a sample of {sample.num_rows} of {raw.rows} rows of {source}: read it before it holds.\n"
    return head + yaml.safe_dump({"checks": {"columns": columns}}, sort_keys=False, default_flow_style=None, width=110)


def proposed(cells: pa.ChunkedArray, kind: str) -> dict[str, Any]:
    """What a column of a sample seems to be; of lists and bytes the sample has only lengths."""
    said: dict[str, Any] = {"type": kind}
    if kind == "string":
        said["type"] = _guessed(cells)
    if kind == "string" and said["type"] == "timestamp" and not _with_zone(cells):
        said["timezone"] = "UTC"
    if not cells.null_count:
        said["nullable"] = False
    if said["type"] == "string":
        values = cells.drop_null().unique().to_pylist()
        whole = all(len(value) < LONGEST for value in values)
        if whole and 0 < len(values) <= MOST_VALUES and len(values) * ROWS_A_VALUE <= len(cells):
            said["allowed"] = sorted(values)
    return said


def _with_zone(cells: pa.ChunkedArray) -> bool:
    return bool(fits(cells.drop_null(), Column(name="", type="timestamp")).all())


def _guessed(cells: pa.ChunkedArray) -> str:
    known = cells.drop_null()
    if not len(known):
        return "string"
    if pc.any(pc.match_substring_regex(known, r"^\s*[+-]?0[0-9]")).as_py():
        return "string"
    for kind in GUESSES:
        if bool(fits(known, Column(name="", type=kind, timezone="UTC" if kind == "timestamp" else "")).all()):
            return kind
    return "string"

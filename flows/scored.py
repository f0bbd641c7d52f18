"""Scoring as the command and the flow do it: which model, which rows, and where the answers go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components import ingest, score
from components.context import RunContext
from components.contracts.artifacts import ModelPackage, Scored
from components.contracts.errors import ConfigError
from components.contracts.registry import load_kind
from components.contracts.spec import Column
from components.ingest.streams import is_stream
from components.packages import told_of
from components.raw_rows import package_folder
from components.registered import find, named
from components.sinks import KINDS
from components.sources.files import FilesSource
from flows.mistakes import holds_secret
from flows.pipeline import load_recipe


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be scored: NAME[@ALIAS]; a file, folder or recipe, that of the model's name if empty; columns to keep.

    `to` is a folder, an `s3://` address, or a mapping as YAML: `{kind: sql, url: …, table: …}`.
    """

    model: str
    source: str = ""
    overrides: Sequence[str] = ()
    keep: Sequence[str] = ()
    to: str = ""


def scored(order: Order, ctx: RunContext) -> Scored:
    """Read the rows as the model's package reads them, and score them.

    Raises:
        ConfigError: E_CONFIG, there is no such model, recipe or sink; E_SECRET_INLINE.
        DataError, EnvironmentFault: The steps' own.
    """
    place, name = find(ctx, order.model), named(order.model)[0]
    package = ctx.load(ModelPackage, place.fingerprint)
    sink, source = _sink(order.to), source_of(order.source, order.overrides, name, ctx)
    said, _ = told_of(package_folder(ctx.store, place.fingerprint))
    columns = tuple(Column.model_validate(one) for one in said["raw"] if one["name"] in said["needed"])
    reads = ingest.IngestConfig(source=source, columns=columns)
    config = score.ScoreConfig(name=name, version=place.version, keep=tuple(order.keep), to=sink)
    if is_stream(source):
        return score.run(config, ingest.run(reads, ctx=ctx), package, ctx=ctx)
    return score.run_on(config, reads, package, ctx=ctx)


def source_of(named_source: str, overrides: Sequence[str], model: str, ctx: RunContext) -> Any:
    """A file or folder as a source, or that of a recipe; of the recipe of the model's name where none is named."""
    path = Path(named_source)
    if named_source and path.exists() and path.suffix not in {".yaml", ".yml"}:
        return FilesSource(uri=named_source)
    placement = ctx.placement
    return load_recipe(named_source or model, overrides, placement.data, placement.recipes).source


def _sink(to: str) -> Any:
    if not to:
        return None
    if holds_secret(to):
        raise ConfigError(
            "E_SECRET_INLINE", "a secret is named, not written", place="to", action="write secret://name there"
        )
    if not to.lstrip().startswith("{"):
        given: Any = {"kind": "parquet", "uri": to if "://" in to else str(Path(to).absolute())}
    else:
        try:
            given = yaml.safe_load(to)
        except yaml.YAMLError as error:
            raise _wrong(to, "this is no YAML") from error
    try:
        return load_kind("components.sinks", KINDS, given, "to").model_validate(given)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        first = error.errors()[0] if hasattr(error, "errors") else {"loc": (), "msg": str(error)}
        raise _wrong(to, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _wrong(to: str, what: str) -> ConfigError:
    return ConfigError(
        "E_CONFIG",
        what,
        place="to",
        value=to,
        allowed="a folder, s3://…, {kind: sql, url: …, table: …} or {kind: delta, uri: …}",
        action="correct it",
    )

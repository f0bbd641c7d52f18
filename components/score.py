"""Source and ModelPackage → Scored: a registered model's answers to every row of a source.

Partitions are read, answered and written in one go: the rows themselves are kept nowhere. Of a stream, whose messages
are gone once they are read, a RawSnapshot comes in between.

A part of the rows that was scored by this version is not scored again, and is delivered to a sink once, whenever and
wherever the process ended before. Rows that the model's cleaning would drop are set aside and counted.
"""

import json
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from components.adapters.snapshot_rows import read_rows
from components.adapters.store import Store
from components.context import RunContext, summed
from components.contracts.artifacts import Ledger, ModelPackage, Part, RawSnapshot, Scored
from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.fingerprint import digest
from components.contracts.spec import FILE, KEY, OWN_COLUMNS, ROW
from components.ingest import IngestConfig, digests_of, partitions_of, read_rows_of
from components.ingest.conform import bad_lines
from components.packages import open_package, own_errors
from components.raw_rows import package_folder
from components.sources.partition import Partition

ROWS = "predictions.parquet"
SHOWN = 3
BYTES_A_ROW = 200
FILES_AT_ONCE = 4


class ScoreConfig(StepConfig):
    """Whose answers, and what stands beside them."""

    name: str = Field(description="the model's name in the registry")
    version: str = Field(description="its version")
    keep: tuple[str, ...] = Field((), description="columns of the rows that stand beside the predictions")
    to: Any = Field(None, description="where the predictions go beside the store: a sink")


def run(config: ScoreConfig, raw: RawSnapshot, package: ModelPackage, *, ctx: RunContext) -> Scored:
    """Score every partition, and deliver each once.

    Raises:
        DataError: E_COLUMN_MISSING, the rows lack a column that the model needs or that is to be kept.
        EnvironmentFault: The sink's own.
    """
    own = config.model_copy(update={"to": None})

    def build(_: Path) -> Scored:
        what = [package.content, config.name, config.version, list(config.keep)]
        items = [(part.place, digest([part.digest, *what]), (part, package.fingerprint)) for part in raw.parts]
        size = raw.rows * BYTES_A_ROW
        parts, records = ctx.parts(
            "score", module=__name__, config=own, work=score_part, items=items, size_bytes=size, native=True
        )
        return _scored(config, package, parts, summed(records, raw.rows))

    made = ctx.commit(Scored, __name__, own, {"rows": raw.content, "package": package.content}, build)
    return made if config.to is None else made.model_copy(update={"delivered": _delivered(config.to, made, ctx)})


def run_on(config: ScoreConfig, reads: IngestConfig, package: ModelPackage, *, ctx: RunContext) -> Scored:
    """The same of a source whose partitions can be read again.

    Raises:
        DataError: E_COLUMN_MISSING; E_NO_ROWS; what is wrong with a file.
        EnvironmentFault: The source's and the sink's own.
    """
    own = config.model_copy(update={"to": None})
    digests = digests_of(ctx)
    version = reads.source.version(digests)
    digests.save()

    def build(_: Path) -> Scored:
        what = [package.content, config.name, config.version, list(config.keep)]
        with partitions_of(reads.source, ctx, digests) as (_source, pieces):
            items = [(piece.place, digest([piece.version, *what]), (piece, package.fingerprint)) for piece in pieces]
            size = sum(piece.size_bytes for piece in pieces)
            parts, records = ctx.parts(
                "score",
                module=__name__,
                config=[own, reads],
                work=score_partition,
                items=items,
                size_bytes=size,
                native=True,
            )
        ledger = summed(records, entered=0)
        if not ledger.added:
            action = "name another source"
            raise DataError("E_NO_ROWS", "the source has no rows", place="source", action=action)
        return _scored(config, package, parts, ledger)

    inputs = {"rows": version, "package": package.content}
    made = ctx.commit(Scored, __name__, [own, reads], inputs, build)
    return made if config.to is None else made.model_copy(update={"delivered": _delivered(config.to, made, ctx)})


def _scored(config: ScoreConfig, package: ModelPackage, parts: Sequence[Part], ledger: Ledger) -> Scored:
    return Scored(name=config.name, version=config.version, package=package.content, parts=tuple(parts), ledger=ledger)


def _delivered(sink: Any, made: Scored, ctx: RunContext) -> int:
    """How many parts the sink did not have. It is asked every time: what it had may be gone."""
    if not hasattr(sink, "deliver_file"):
        return _counted((sink.deliver(one.key, scored_rows(ctx.store, one)) for one in made.parts), made, ctx)
    # Files wait for the disk or the network, and not for each other.
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return _counted(
            pool.map(lambda part: sink.deliver_file(part.key, _file(ctx.store, part)), made.parts), made, ctx
        )


def _counted(taken: Iterable[bool], made: Scored, ctx: RunContext) -> int:
    count = 0
    for number, new in enumerate(taken, 1):
        count += new
        ctx.progress.advanced("score", number, len(made.parts), "parts", "delivered")
    return count


def scored_rows(store: Store, part: Part) -> pa.Table:
    """A part's predictions."""
    return pq.read_table(_file(store, part), page_checksum_verification=True)


def _file(store: Store, part: Part) -> Path:
    return store.open(store.part("score", part.key).standing(), ROWS)


def score_part(store: Store, config: ScoreConfig, argument: tuple[Part, str], folder: Path) -> dict[str, Any]:
    """Write the answers to the rows of one part of a snapshot."""
    part, fingerprint = argument
    _one_core()
    rows = read_rows(store, "ingest", part.key)
    found, bad = _answered(store, config, fingerprint, rows)
    return _written(found, bad, folder, entered=part.rows)


def score_partition(
    store: Store, config: Sequence[Any], argument: tuple[Partition, str], folder: Path
) -> dict[str, Any]:
    """Read one partition of a source and write the answers to its rows."""
    (own, reads), (piece, fingerprint) = config, argument
    _one_core()
    table, rows, _ = read_rows_of(store, reads, piece)
    found, lost = _answered(store, own, fingerprint, table)
    return _written(found, [*bad_lines(rows, piece), *lost], folder, entered=None)


def _one_core() -> None:
    """Where partitions are answered side by side, the network of each takes one core: OpenMP counts by thread."""
    import torch

    if threading.current_thread() is not threading.main_thread():
        torch.set_num_threads(1)


def _answered(
    store: Store, config: ScoreConfig, fingerprint: str, rows: pa.Table
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The answers to rows, and those of them that the model's cleaning would drop."""
    predictor = _opened(str(package_folder(store, fingerprint)))
    for name in config.keep:
        if name not in rows.column_names:
            raise _no_column(name, rows.column_names)
    with own_errors("correct the data: the model needs what it was trained on"):
        kept = predictor.accepts(rows.drop(list(OWN_COLUMNS)))
        keeps = np.asarray(kept)
        whole = bool(keeps.all())
        lost, rows = rows.slice(0, 0) if whole else rows.filter(pa.array(~keeps)), rows if whole else rows.filter(kept)
        told = predictor.predict(rows.drop(list(OWN_COLUMNS))).table() if rows.num_rows else pa.table({})
    beside = {
        **{name: rows[name] for name in config.keep},
        # As text: neither databases nor Delta have whole numbers of 64 bits without a sign.
        "row_key": rows[KEY].cast(pa.string()),
        "file": rows[FILE].cast(pa.string()),
        "row": rows[ROW],
    }
    same = {"model": config.name, "model_version": config.version, "scored_at": datetime.now(UTC)}
    own = {name: pa.repeat(pa.scalar(value), rows.num_rows) for name, value in same.items()}
    answers = {name: told[name] for name in told.column_names}
    bad = [
        {"place": f"{row[FILE]}:{row[ROW]}", "code": "E_ROW_REJECTED"} for row in lost.select([FILE, ROW]).to_pylist()
    ]
    return pa.table({**beside, **answers, **own}), bad


def _written(found: pa.Table, bad: list[dict[str, Any]], folder: Path, *, entered: int | None) -> dict[str, Any]:
    """`entered` rows of a snapshot came in; where it is None, all that came were read anew."""
    texts = [one.name for one in found.schema if pa.types.is_string(one.type) and one.name != "row_key"]
    # Numbers and keys hardly repeat: to look for those that do would take as long as all else.
    pq.write_table(found, folder / ROWS, write_page_checksum=True, use_dictionary=texts)
    if bad:
        (folder / "rejected.jsonl").write_text("".join(json.dumps(line) + "\n" for line in bad))
    came = {"added": found.num_rows + len(bad)} if entered is None else {"rows_in": entered}
    ledger = Ledger(**came, rows_out=found.num_rows, dropped={"rejected": len(bad)} if bad else {})
    return {"rows": found.num_rows, "ledger": ledger.model_dump(), "bad": bad[:SHOWN]}


def _no_column(name: str, names: Sequence[str]) -> DataError:
    return DataError(
        "E_COLUMN_MISSING",
        "the rows have no such column",
        place="keep",
        value=name,
        allowed=", ".join(one for one in names if one not in OWN_COLUMNS),
        action="correct the name",
    )


@lru_cache(maxsize=2)
def _opened(folder: str) -> Any:
    return open_package(Path(folder))

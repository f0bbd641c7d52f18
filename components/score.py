"""RawSnapshot and ModelPackage → Scored: a registered model's answers to every row of a source.

A part of the rows that was scored by this version is not scored again, and is delivered to a sink once, whenever and
wherever the process ended before. Rows that the model's cleaning would drop are set aside and counted.
"""

import json
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
from components.packages import open_package, own_errors

ROWS = "predictions.parquet"
SHOWN = 3
BYTES_A_ROW = 200


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
    names = [column.name for column in raw.columns]
    for name in config.keep:
        if name not in names:
            raise DataError(
                "E_COLUMN_MISSING",
                "the rows have no such column",
                place="keep",
                value=name,
                allowed=", ".join(names),
                action="correct the name",
            )

    own = config.model_copy(update={"to": None})

    def build(_: Path) -> Scored:
        what = [package.content, config.name, config.version, list(config.keep)]
        items = [(part.place, digest([part.digest, *what]), (part, package.fingerprint)) for part in raw.parts]
        parts, records = ctx.parts(
            "score",
            module=__name__,
            config=own,
            work=score_partition,
            items=items,
            size_bytes=raw.rows * BYTES_A_ROW,
            native=True,
        )
        return Scored(
            name=config.name,
            version=config.version,
            package=package.content,
            parts=tuple(parts),
            ledger=summed(records, raw.rows),
        )

    made = ctx.commit(Scored, __name__, own, {"rows": raw.content, "package": package.content}, build)
    return made if config.to is None else made.model_copy(update={"delivered": _delivered(config.to, made, ctx)})


def _delivered(sink: Any, made: Scored, ctx: RunContext) -> int:
    """How many parts the sink did not have. It is asked every time: what it had may be gone."""
    count = 0
    for number, part in enumerate(made.parts, 1):
        count += sink.deliver(part.key, scored_rows(ctx.store, part))
        ctx.progress.advanced("score", number, len(made.parts), "parts", "delivered")
    return count


def scored_rows(store: Store, part: Part) -> pa.Table:
    """A part's predictions."""
    return pq.read_table(store.open(store.part("score", part.key).standing(), ROWS), page_checksum_verification=True)


def score_partition(store: Store, config: ScoreConfig, argument: tuple[Part, str], folder: Path) -> dict[str, Any]:
    """Write the answers to one partition's rows, and which rows the model's cleaning would drop."""
    part, fingerprint = argument
    predictor = _opened(str(store.folder(store.artifact("package", fingerprint).standing()) / "model"))
    rows = read_rows(store, "ingest", part.key)
    with own_errors("correct the data: the model needs what it was trained on"):
        kept = predictor.accepts(rows.drop(list(OWN_COLUMNS)))
        lost, rows = rows.filter(pa.array(~np.asarray(kept))), rows.filter(kept)
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
    pq.write_table(pa.table({**beside, **answers, **own}), folder / ROWS, write_page_checksum=True)
    bad = [
        {"place": f"{row[FILE]}:{row[ROW]}", "code": "E_ROW_REJECTED"} for row in lost.select([FILE, ROW]).to_pylist()
    ]
    if bad:
        (folder / "rejected.jsonl").write_text("".join(json.dumps(line) + "\n" for line in bad))
    ledger = Ledger(rows_in=part.rows, rows_out=rows.num_rows, dropped={"rejected": len(bad)} if bad else {})
    return {"rows": rows.num_rows, "ledger": ledger.model_dump(), "bad": bad[:SHOWN]}


@lru_cache(maxsize=2)
def _opened(folder: str) -> Any:
    return open_package(Path(folder))

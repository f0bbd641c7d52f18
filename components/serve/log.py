"""What was asked and answered, a sample of it, in the store: what monitoring compares with training's rows.

Between two writings the rows are drawn evenly among all that came, so that the log says what requests look like,
whatever their number, and stays small. Files and free text are left out unless they are named, and a column that is
named as redacted always is. Writing happens beside the answers: what it loses is counted, and fails nobody.
"""

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from os import urandom
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.adapters.prediction_log import ROWS, TIME, log_name
from components.adapters.store import Store
from components.cleaning.typed import typed
from components.contracts.spec import Column
from components.serve.hosting import Hosted
from components.serve.settings import LogConfig
from components.serve.wire import BYTES, Asked, table_of

NAMES = frozenset({"category", "boolean", "bins", "number", "datetime"})
"""Features that read a column as a value, and not as text that somebody wrote."""


@dataclass(frozen=True)
class Noted:
    """One row that was answered."""

    by: Hosted
    asked: Asked
    row: int
    answer: Mapping[str, Any]
    request: str
    at: datetime

    @property
    def written(self) -> bool:
        """Whether its cells are text that says values."""
        return any(isinstance(one, pa.ChunkedArray) for one in self.asked.cells.values())


class Log:
    """One model's log, of one process."""

    def __init__(self, store: Store, name: str, config: LogConfig, told: Callable[[str], None]) -> None:
        self._store, self._name, self._config, self._told = store, name, config, told
        self._kept: list[Noted] = []
        self._seen, self.lost, self.written, self._failed = 0, 0, 0, ""
        self._lock = threading.Lock()
        # Which rows are kept is nobody's secret.
        self._draw = random.Random()  # noqa: S311

    def note(self, by: Hosted, asked: Asked, answers: Any, request: str) -> None:
        """Keep the rows of a request, or some of them."""
        config = self._config
        if not config.share or self._draw.random() >= config.share:
            return
        at = datetime.now(UTC)
        with self._lock:
            for row, answer in enumerate(answers):
                self._seen += 1
                place = len(self._kept) if len(self._kept) < config.rows else self._draw.randrange(self._seen)
                if place >= config.rows:
                    continue
                self._kept[place : place + 1] = [Noted(by, asked, row, answer, request, at)]

    def write(self) -> None:
        """Commit what was kept since the last time; what cannot be written is counted, and its reason said once."""
        with self._lock:
            kept, seen, self._kept, self._seen = self._kept, self._seen, [], 0
        for place in dict.fromkeys(one.by.place for one in kept):
            some = [one for one in kept if one.by.place == place]
            try:
                self._commit(some, seen)
            except Exception as error:  # noqa: BLE001 - a log that cannot be written fails no answer
                self.lost += len(some)
                said = f"{type(error).__name__}: {error}"
                if said != self._failed:
                    self._told(f"the predictions of {self._name} are not logged: {said}")
                self._failed = said
            else:
                self.written += len(some)
                self._failed = ""

    def _commit(self, noted: list[Noted], seen: int) -> None:
        by = noted[0].by
        columns = logged_columns(by, self._config)
        # Cells of CSV are text until they are typed, others are not.
        forms = [[one for one in noted if one.written == written] for written in (False, True)]
        tables = [typed(table_of([_single(one) for one in form], columns), columns) for form in forms if form]
        noted = [one for form in forms for one in form]
        asked = pa.concat_tables(tables) if columns else pa.table({})
        times = [one.at for one in noted]
        table = pa.table({
            "request": [one.request for one in noted],
            "row": [one.row for one in noted],
            "at": pa.array(times, pa.timestamp("us", "UTC")),
            "answer": pa.array([one.answer for one in noted]),
        })
        if asked.num_columns:
            # Apart from each other: a column may be called as a part of an answer is.
            cells = [one.combine_chunks() for one in asked.columns]
            table = table.append_column("asked", pa.StructArray.from_arrays(cells, asked.column_names))
        key = f"{min(times):{TIME}}-{urandom(4).hex()}"
        with self._store.part(log_name(self._name), key).attempt() as attempt:
            pq.write_table(table, attempt.folder / ROWS, write_page_checksum=True)
            attempt.commit({
                "model": self._name,
                "version": by.place.version,
                "package": by.place.fingerprint,
                "rows": len(noted),
                "seen": seen,
                "first": min(times).isoformat(),
                "last": max(times).isoformat(),
            })


def logged_columns(by: Hosted, config: LogConfig) -> list[Column]:
    """The columns of a request that are written."""
    values = {
        name for feature in by.predictor.features if getattr(feature, "kind", "") in NAMES for name in feature.columns
    }

    def plain(column: Column) -> bool:
        text = column.type in {"string", "strings"} and column.name not in values
        return not text and column.type not in BYTES

    return [one for one in by.columns if one.name not in config.redact and (plain(one) or one.name in config.write)]


def _single(noted: Noted) -> Asked:
    return Asked({name: cells[noted.row : noted.row + 1] for name, cells in noted.asked.cells.items()}, 1)

"""A model that is watched: tables and logs held against what it was tested on."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from components import ingest, monitor
from components.adapters.prediction_log import ROWS, TIME, log_name
from components.monitor import Watched
from components.packages import open_package
from components.raw_rows import folder_of
from components.sources.files import FilesSource

QUICK = {"draws": 20, "refused": (0, 6000)}


@dataclass
class Model:
    ctx: object
    dataset: object
    package: object
    folder: object

    def watch(self, table, **more):
        """What monitoring says of a table."""
        place = self.folder / "new"
        place.mkdir(exist_ok=True)
        pq.write_table(table, place / "rows.parquet")
        raw = ingest.run(ingest.IngestConfig(source=FilesSource(uri=str(place))), ctx=self.ctx)
        config = Watched(name="toy", version="1", **(QUICK | more))
        return monitor.run(config, raw, self.package, self.dataset, ctx=self.ctx)

    def log(self, rows, at, columns, package=""):
        """Write a part of the prediction log, as a server does that was asked these rows."""
        told = open_package(folder_of(self.package, self.ctx.store)).predict(rows).table()
        asked = rows.select(columns)
        table = pa.table({
            "at": pa.array([at] * rows.num_rows, pa.timestamp("us", "UTC")),
            "answer": pa.StructArray.from_arrays([one.combine_chunks() for one in told.columns], told.column_names),
            "asked": pa.StructArray.from_arrays([one.combine_chunks() for one in asked.columns], asked.column_names),
        })
        package = package or self.package.fingerprint
        meta = {"rows": rows.num_rows, "first": at.isoformat(), "last": at.isoformat(), "package": package}
        with self.ctx.store.part(log_name("toy"), f"{at:{TIME}}-{rows.num_rows}").attempt() as attempt:
            pq.write_table(table, attempt.folder / ROWS, write_page_checksum=True)
            attempt.commit(meta)

    def watch_log(self, since):
        """What monitoring says of the log; of a hundred rows five were set aside before training, which is no drift."""
        config = Watched(name="toy", version="1", **(QUICK | {"refused": (300, 6000)}))
        return monitor.run_on_log(config, since, self.package, self.dataset, ctx=self.ctx)

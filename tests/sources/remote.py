"""A table in a bucket, for tests of files that lie elsewhere."""

from components import ingest
from components.adapters.snapshot_rows import read_rows
from components.contracts.spec import OWN_COLUMNS
from components.sources.files import FilesSource

LINES = "".join(f"{number},{'xyz'[number % 3]}\n" for number in range(20_000))
CSV = "n,c\n" + LINES
ROWS = [{"n": str(number), "c": "xyz"[number % 3]} for number in range(20_000)]


def read(uri, ctx, **fields):
    raw = ingest.run(ingest.IngestConfig(source=FilesSource(uri=uri, **fields)), ctx=ctx)
    rows = []
    for part in raw.parts:
        rows += read_rows(ctx.store, "ingest", part.key).drop(list(OWN_COLUMNS)).to_pylist()
    return raw, rows

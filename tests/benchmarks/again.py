"""G25: a retraining beside the first run of the same recipe, where nothing is new, and where a hundredth of the rows is."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.measure import compared
from tests.benchmarks.start_up import COMMAND, timed

FILES, ROWS, COLUMNS, PAIRS = 100, 10_000, 30, 5
RECIPE = """
name: lake
source: {{kind: files, uri: {folder}}}
features: [{{kind: number, columns: [{columns}]}}]
target: {{kind: label, column: label}}
model: {{kind: mlp, hidden: [32]}}
objective: {{kind: classification}}
train: {{max_epochs: 1, batch_size: 4096}}
gate: {{}}
"""


def written(folder, numbers):
    """Files of numbers, and a class that hangs on two of them."""
    for number in numbers:
        draw = np.random.default_rng(number)
        cells = draw.normal(size=(ROWS, COLUMNS))
        columns = {f"x{at}": cells[:, at] for at in range(COLUMNS)}
        pq.write_table(pa.table({**columns, "label": np.where(cells[:, 0] > cells[:, 1], "a", "b")}),
                       folder / f"{number:03}.parquet")  # fmt: skip


def retraining(*, new):
    """Seconds of `millrace retrain` over those of the first `millrace run`, without their imports."""

    def measure():
        pairs, states = [], set()
        for _ in range(PAIRS):
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                (folder / "rows").mkdir()
                written(folder / "rows", range(FILES))
                names = ", ".join(f"x{at}" for at in range(COLUMNS))
                (folder / "lake.yaml").write_text(RECIPE.format(folder=folder / "rows", columns=names))
                place = {"MILLRACE_HOME": str(folder / "home")}
                timed(COMMAND, "setup", **place)
                first = json.loads(timed(COMMAND, "run", str(folder / "lake.yaml"), "--json", **place)[1])
                if new:
                    written(folder / "rows", [FILES])
                again = json.loads(timed(COMMAND, "retrain", "lake", "--reason", "schedule", "--json", **place)[1])
                timed(COMMAND, "down", **place)
            states.add(again["state"])
            pairs.append((again["seconds"]["total"], first["seconds"]["total"]))
        assert states == {"Completed" if new else "Unchanged"}, states
        case = f"{FILES * ROWS:,} rows, {'a hundredth new' if new else 'nothing new'}"
        must, stretch = (0.4, 0.2) if new else (0.3, 0.1)
        names = {"goal": "G25", "case": case, "peer": "the first run", "better": "lower"}
        return compared(pairs, must=must, stretch=stretch, checksum=json.dumps(sorted(states)), **names)

    return measure

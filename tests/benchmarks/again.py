"""G25: a retraining beside the first run of the same recipe, where nothing is new, and where a hundredth of the rows is."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from tests.benchmarks.measure import compared
from tests.benchmarks.start_up import COMMAND, timed

FILES, PAIRS = 200, 5
NUMBERS = "abcdefghi"
RECIPE = """
name: lake
source: {{kind: files, uri: {folder}}}
features:
  - {{kind: number, columns: [a, b, c, d, e], missing: median, outliers: clip}}
  - {{kind: number, name: more, columns: [f, g, h, i], scale: quantile}}
target: {{kind: label, column: j}}
model: {{kind: mlp, hidden: [32]}}
objective: {{kind: classification}}
train: {{max_epochs: {epochs}, batch_size: 4096}}
gate: {{max_regression: {{accuracy: 0.005}}}}
retrain: {{{policy}}}
"""


def written(folder, numbers, rows):
    """Files of numbers, of G10's columns, and a class that hangs on two of them."""
    for number in numbers:
        draw = np.random.default_rng(number)
        cells = draw.normal(size=(rows, len(NUMBERS))).round(6)
        noise = draw.normal(0, 0.2, rows)
        columns = {name: cells[:, at] for at, name in enumerate(NUMBERS)}
        table = pa.table({**columns, "j": np.where(cells[:, 0] > cells[:, 1] + noise, "yes", "no")})
        pyarrow.csv.write_csv(table, folder / f"{number:03}.csv")


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """Seconds of `millrace retrain` over those of the first `millrace run`, without their imports."""

    case: str
    rows: int
    epochs: int
    policy: str = ""
    new: int = 0
    must: float
    stretch: float

    def __call__(self):
        """The comparison; a retraining that loses accuracy is rejected, and then this fails."""
        pairs, states, found = [], set(), []
        for _ in range(PAIRS):
            first, again = self._pair()
            states.add(again["state"])
            found.append((first["metrics"]["test_accuracy"], again["metrics"]["test_accuracy"]))
            pairs.append((again["seconds"]["total"], first["seconds"]["total"]))
        assert states == {"Completed" if self.new else "Unchanged"}, states
        names = {"goal": "G25", "case": self.case, "peer": "the first run", "better": "lower"}
        return compared(pairs, must=self.must, stretch=self.stretch, checksum=json.dumps(found), **names)

    def _pair(self):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "rows").mkdir()
            written(folder / "rows", range(FILES), self.rows)
            recipe = RECIPE.format(folder=folder / "rows", epochs=self.epochs, policy=self.policy)
            (folder / "lake.yaml").write_text(recipe)
            place = {"MILLRACE_HOME": str(folder / "home")}
            timed(COMMAND, "setup", **place)
            first = json.loads(timed(COMMAND, "run", str(folder / "lake.yaml"), "--json", **place)[1])
            written(folder / "rows", range(FILES, FILES + self.new), self.rows)
            again = json.loads(timed(COMMAND, "retrain", "lake", "--reason", "schedule", "--json", **place)[1])
            timed(COMMAND, "down", **place)
            return first, again


nothing = Retraining(case="1M rows in 200 parts, nothing new", rows=5_000, epochs=1, must=0.3, stretch=0.1)
warm = Retraining(
    case="4M rows in 200 parts, a hundredth new, from the champion's weights: one pass, the first run took ten",
    rows=20_000, epochs=10, policy="warm: true, overrides: [train.max_epochs=1]", new=2, must=0.4, stretch=0.2,
)  # fmt: skip
anew = Retraining(
    case="1M rows in 200 parts, a hundredth new, trained anew: one pass as in the first run",
    rows=5_000, epochs=1, new=2, must=0.4, stretch=0.2,
)  # fmt: skip

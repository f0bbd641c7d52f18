"""Side-by-side measurement: alternating pairs, ratios, quartiles, one JSON line a comparison."""

import json
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path

REPORTS = Path(__file__).parents[2] / ".reports"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One goal's line: `ratio` is the median of ours over theirs, `passes` by the quartile on the bad side."""

    goal: str
    case: str
    peer: str
    ratio: float
    quartiles: tuple[float, float, float]
    must: float
    stretch: float
    better: str
    n: int
    ours_seconds: float
    theirs_seconds: float
    checksum: str
    bounds: tuple[float, float] | None = None

    def bounded(self, low, high):
        """The same, which passes by the 95 % bounds of the median: for a goal near 1."""
        return replace(self, bounds=(low, high))

    @property
    def passes(self):
        low, high = self.bounds or (self.quartiles[0], self.quartiles[2])
        return high <= self.must if self.better == "lower" else low >= self.must

    def line(self):
        return json.dumps({**asdict(self), "pass": self.passes})


def compared(pairs, *, checksum, **names):
    """The comparison of `pairs` of seconds (ours, theirs), measured alternately."""
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Comparison(
        ratio=round(middle, 4),
        quartiles=tuple(round(one, 4) for one in (low, middle, high)),
        n=len(pairs),
        ours_seconds=round(statistics.median(ours for ours, _ in pairs), 4),
        theirs_seconds=round(statistics.median(theirs for _, theirs in pairs), 4),
        checksum=checksum,
        **names,
    )


def tell(comparison):
    """Print a line and keep it."""
    print(comparison.line(), flush=True)
    REPORTS.mkdir(exist_ok=True)
    with (REPORTS / "bench.jsonl").open("a") as file:
        file.write(comparison.line() + "\n")

"""What is found out about a package, as it stands in reports."""

from typing import Literal

from pydantic import Field

from components.contracts.config import Frozen


class Interval(Frozen):
    """A figure with the bounds of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def covers(self, value: float) -> bool:
        """Whether `value` lies within the bounds."""
        return self.low <= value <= self.high


class Tryout(Frozen):
    """Whether a package answered its own example as it did when it was made, and else what it said."""

    passed: bool
    seconds: float
    said: str = ""


class Cost(Frozen):
    """What an answer costs: milliseconds for one raw row (the median and the 95th percentile), rows a second, bytes."""

    latency_ms: float
    latency_ms_95: float
    rows_a_second: float
    size_bytes: int


class Shrunk(Frozen):
    """One version of a network: bytes as a file and packed, what an answer costs, and how it does on test rows.

    `latency_ms` and `rows_a_second` are of the network with its features' arithmetic, `memory_mb` of a process that has
    answered, and `difference` the largest of the outputs from the package's own.
    """

    name: str
    size_bytes: int
    packed_bytes: int
    latency_ms: float
    rows_a_second: float
    memory_mb: float
    metrics: dict[str, float]
    difference: float


ANSWER = "answer: "
"""What the name of a part of the answers begins with, where it stands beside names of columns."""


class Moved(Frozen):
    """What one test of monitoring found: the size of the change, and how often chance would bring any test so far.

    `what` is a column, or what else is compared; `before` and `now` tell a person what stood in test rows and in new
    ones. An alarm is one that chance does not explain, and that is of size `least` and more.
    """

    what: str
    kind: Literal["column", "missing", "prediction", "inner", "refused", "performance"]
    size: float
    least: float
    p: float
    before: str
    now: str
    alarm: bool


class Explanation(Frozen):
    """What answers hang on: columns to their share, the largest first.

    `top` is how far an answer moves without what is said to speak most for it, `random` without as much drawn by
    chance; `gain` is the difference.
    """

    ranking: dict[str, float]
    top: float
    random: float
    gain: Interval


class Fairness(Frozen):
    """How alike groups of people are treated: the values, or quarters, of one column.

    `groups` has of each the rows, how often `positive` is said (selection rate), how much of it is found (true positive
    rate), how many others are taken for it (false positive rate), and the accuracy. `differences` are those between the
    groups that lie farthest apart, of `least_rows` rows and more; `likeliest` is what they would be without the
    package's thresholds, `champion` what the champion's are on the rows that both were tested on.
    """

    column: str
    positive: str
    least_rows: int
    groups: dict[str, dict[str, float]]
    differences: dict[str, Interval]
    likeliest: dict[str, float] = Field({})
    champion: dict[str, float] = Field({})


class Slice(Frozen):
    """Figures of a part of the test rows.

    `chance` is None where the recipe named it; of one that was found to be worse than the rest it is how likely that is
    by luck alone, with everything counted that the search looked at. `gain` covers the `shared` rows, which are in the
    champion's test part, too.
    """

    name: str
    rows: int
    shared: int = 0
    chance: float | None = None
    metrics: dict[str, Interval]
    gain: dict[str, Interval] = Field({})

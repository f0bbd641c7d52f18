"""What moved between two samples of rows, and whether by more than chance and by enough to matter."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from components.contracts.findings import ANSWER, Moved
from components.monitor.settings import MonitorConfig
from components.monitor.sides import MISSING, OTHER, Side
from components.statistics.drift import index, number_drift
from components.statistics.shifts import (
    counts_differ,
    larger,
    numbers_differ,
    shares_differ,
    together,
    told_apart,
)

Kind = Literal["column", "missing", "prediction", "inner", "refused", "performance"]


@dataclass(frozen=True, kw_only=True)
class _Test:
    what: str
    kind: Kind
    size: float
    least: float
    p: float
    before: str
    now: str


def compared(before: Side, now: Side, config: MonitorConfig) -> tuple[Moved, ...]:
    """A finding for each test. One says alarm where chance would bring any of them so far with `alarm_rate` at most."""
    tests = list(_tests(before, now, config))
    raised = together([one.p for one in tests])
    return tuple(
        Moved(
            what=one.what, kind=one.kind, size=round(one.size, 4), least=one.least, p=p, before=one.before, now=one.now,
            alarm=bool(p <= config.alarm_rate and one.size >= one.least),
        )
        for one, p in zip(tests, raised, strict=True)
    )  # fmt: skip


def false_alarms(before: Side, rows: int, config: MonitorConfig, told: Callable[[int], None]) -> int:
    """How many of `draws` batches of so many rows, drawn from the reference itself, are taken for moved."""
    size, count = min(rows, before.rows // 2), 0
    draw = np.random.Generator(np.random.PCG64(1))
    for number in range(config.draws):
        order = draw.permutation(before.rows)
        found = compared(before.drawn(order[size:]), before.drawn(order[:size]), config)
        count += any(one.alarm for one in found)
        told(number + 1)
    return count


def _tests(before: Side, now: Side, config: MonitorConfig) -> Iterator[_Test]:
    for name, first in before.numbers.items():
        second = now.numbers[name]
        known = [one[np.isfinite(one)] for one in (first, second)]
        said = [f"mean {one.mean():.4g}" if len(one) else "none" for one in known]
        yield _Test(
            what=_bare(name),
            kind=_kind(name),
            size=number_drift(first, second),
            least=config.least_shift,
            p=numbers_differ(*known),
            before=said[0],
            now=said[1],
        )
        yield from _missing(name, np.isnan(first), np.isnan(second), config)
    for name, codes in before.categories.items():
        counts = [_counts(one) for one in (codes, now.categories[name])]
        said = [_commonest(one, before.names[name]) for one in counts]
        yield _Test(
            what=_bare(name),
            kind=_kind(name),
            size=index(*counts),
            least=config.least_shift,
            p=counts_differ(counts[0][1:], counts[1][1:]),
            before=said[0],
            now=said[1],
        )
        yield from _missing(name, codes == MISSING, now.categories[name] == MISSING, config)
    if before.inner is not None and now.inner is not None:
        above, p = told_apart(before.inner, now.inner)
        yield _Test(
            what="what the network makes of the rows",
            kind="inner",
            size=above,
            least=config.least_apart,
            p=p,
            before="0.5 if alike",
            now=f"{above:.3f} told apart",
        )
    if before.worse is not None and now.worse is not None:
        yield _performance(before.metric, before.worse, now.worse, config)
    # The prediction log has only rows that were answered: how many were refused, it does not say.
    if now.came:
        yield _shared("rows refused", "refused", (before.refused, before.came), (now.refused, now.came), config)


def _performance(metric: str, before: NDArray[np.float64], now: NDArray[np.float64], config: MonitorConfig) -> _Test:
    sign = -1 if metric.startswith("-") else 1
    spread = np.concatenate([before, now]).std()
    size = (now.mean() - before.mean()) / spread if spread and len(now) else 0.0
    return _Test(
        what=metric.removeprefix("-").replace("_", " "),
        kind="performance",
        size=float(size),
        least=config.least_worse,
        p=larger(before, now),
        before=f"{sign * before.mean():.4g}",
        now=f"{sign * now.mean():.4g}" if len(now) else "",
    )


def _missing(name: str, before: NDArray[np.bool_], now: NDArray[np.bool_], config: MonitorConfig) -> Iterator[_Test]:
    if before.any() or now.any():
        counts = [(int(one.sum()), len(one)) for one in (before, now)]
        yield _shared(f"{_bare(name)} missing", "missing", counts[0], counts[1], config)


def _shared(what: str, kind: Kind, before: tuple[int, int], now: tuple[int, int], config: MonitorConfig) -> _Test:
    shares = [some / of if of else 0.0 for some, of in (before, now)]
    return _Test(
        what=what,
        kind=kind,
        size=abs(shares[1] - shares[0]),
        least=config.least_share,
        p=shares_differ(*before, *now),
        before=f"{100 * shares[0]:.1f} %",
        now=f"{100 * shares[1]:.1f} %",
    )


def _counts(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Missing cells first, then each value, then all others."""
    return np.bincount(codes - MISSING, minlength=OTHER - MISSING + 1).astype(np.float64)


def _commonest(counts: NDArray[np.float64], names: Sequence[str]) -> str:
    if not counts[1:].sum():
        return "none"
    at = int(counts[1:].argmax())
    return f"{names[at] if at < len(names) else 'others'} {100 * counts[1 + at] / counts.sum():.0f} %"


def _bare(name: str) -> str:
    return name.removeprefix(ANSWER) if name.startswith(ANSWER) else name


def _kind(name: str) -> Kind:
    return "prediction" if name.startswith(ANSWER) else "column"

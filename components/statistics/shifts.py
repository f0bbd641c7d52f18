"""Whether two samples come from one and the same: a p-value each, and what holds of many of them together.

All are tests of two samples, so that both may be small; none asks for the samples to be normal.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EXPECTED = 5.0
"""Counts that are expected to be fewer are taken together (Cochran 1954)."""


def numbers_differ(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Kolmogorov and Smirnov's test of known numbers; 1 where there are none on a side."""
    from scipy.stats import ks_2samp

    if not len(before) or not len(now):
        return 1.0
    return float(ks_2samp(before, now, method="asymp").pvalue)


def counts_differ(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Pearson's chi-square test that categories, counted in two samples, occur alike; rare ones count as one."""
    from scipy.stats import chi2

    both = before + now
    total = both.sum()
    if not before.sum() or not now.sum():
        return 1.0
    rare = both * min(before.sum(), now.sum()) / total < EXPECTED
    table = np.stack([np.append(one[~rare], one[rare].sum()) for one in (before, now)])
    # Those that are rare even together join the rarest of the others.
    if 0 < table[:, -1].sum() * min(before.sum(), now.sum()) / total < EXPECTED and table.shape[1] > 1:
        least = int(table[:, :-1].sum(0).argmin())
        table[:, least] += table[:, -1]
        table = table[:, :-1]
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    return float(chi2.sf(((table - expected) ** 2 / expected).sum(), table.shape[1] - 1))


def shares_differ(before: int, of: int, now: int, of_now: int) -> float:
    """Fisher's exact test that something is as frequent in one sample as in another."""
    from scipy.stats import fisher_exact

    if not of or not of_now:
        return 1.0
    return float(fisher_exact([[before, of - before], [now, of_now - now]]).pvalue)


def larger(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Mann and Whitney's test that the second sample's values are not larger."""
    from scipy.stats import mannwhitneyu

    if not len(before) or not len(now) or np.ptp(np.concatenate([before, now])) == 0:
        return 1.0
    return float(mannwhitneyu(now, before, alternative="greater", method="asymptotic").pvalue)


def told_apart(before: NDArray[np.float64], now: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """How well a classifier tells vectors, float64[rows, width], of two samples apart, and the p-value of that.

    It learns on half of both (a logistic regression) and is judged on the other: the area under its ROC curve, 0.5
    where it cannot, and Mann and Whitney's test of its scores (Lopez-Paz 2017).
    """
    from sklearn.linear_model import LogisticRegression

    draw = np.random.Generator(np.random.PCG64(seed))
    halves = [np.array_split(draw.permutation(len(one)), 2) for one in (before, now)]
    if min(len(half) for pair in halves for half in pair) < 2:
        return 0.5, 1.0
    learnt = np.concatenate([before[halves[0][0]], now[halves[1][0]]])
    centre, scale = learnt.mean(0), learnt.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    sides = np.repeat([0, 1], [len(halves[0][0]), len(halves[1][0])])
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=200).fit((learnt - centre) / scale, sides)
    first, second = (
        model.decision_function((one[half[1]] - centre) / scale)
        for one, half in zip((before, now), halves, strict=True)
    )
    above = (second[:, None] > first[None, :]).mean() + 0.5 * (second[:, None] == first[None, :]).mean()
    return float(above), larger(first, second)


def together(values: Sequence[float]) -> list[float]:
    """P-values of many tests, so raised that any of them falls below a bound by chance no more often than one would.

    Holm's way (1979); it asks for no independence.
    """
    order = np.argsort(values, kind="stable")
    raised = np.minimum(np.array(values)[order] * np.arange(len(values), 0, -1), 1.0)
    found = np.empty(len(values))
    found[order] = np.maximum.accumulate(raised) if len(values) else raised
    return [float(one) for one in found]

"""Intervals of many rows, from small bags of them, beside those from all rows; and how often they hold the truth."""

import numpy as np
import pytest

from components.objectives.classification import Classification
from components.objectives.multi_label import MultiLabel
from components.objectives.regression import Regression
from components.statistics import bootstrap
from components.statistics.bootstrap import EXACT_UP_TO, alike, intervals
from components.tally import Whole


def answered(rows, seed, noise=0.0, rare=0):
    """Of rows whose score is the chance of the second class, but for noise; `rare` are of a third one."""
    random = np.random.default_rng(seed)
    chance = random.random(rows)
    truth = (random.random(rows) < chance).astype(np.int32)
    score = np.clip(chance + noise * random.normal(size=rows), 0, 1).astype(np.float32)
    predicted = (score > 0.5).astype(np.int32)
    truth[:rare], predicted[: rare // 2] = 2, 2
    facts = {"truth": truth, "predicted": predicted, "confidence": np.maximum(score, 1 - score)}
    return Whole({}, facts | ({} if rare else {"score": score}), Classification().pooled)


def several(whole):
    """The same as one of several targets, whose facts have its name."""
    facts = {f"town/{name}": one for name, one in whole.facts.items()}
    return Whole({}, facts, lambda facts: whole.pooled({name[5:]: one for name, one in facts.items()}))


def labelled(rows):
    """Three labels, of which every row has the last one."""
    random = np.random.default_rng(4)
    chance = random.random((rows, 3))
    truth = random.random((rows, 3)) < chance
    truth[:, 2] = True
    return Whole({}, {"truth": truth, "predicted": chance > 0.5, "score": chance}, MultiLabel().pooled)


def both(monkeypatch, measure):
    """Intervals from bags and from all rows."""
    bags = measure()
    monkeypatch.setattr(bootstrap, "EXACT_UP_TO", 10**9)
    return bags, measure()


@pytest.mark.parametrize("case", ["figures", "a rare class", "gain", "several targets", "a label that all rows have"])
def test_small_bags_say_what_all_rows_say(monkeypatch, case):
    rows = 3 * EXACT_UP_TO
    measures = {
        "figures": answered(rows, 0).figures,
        "a rare class": answered(rows, 1, rare=8).figures,
        "gain": lambda: answered(rows, 2).beyond(answered(rows, 2, noise=0.2)),
        "several targets": several(answered(rows, 3)).figures,
        "a label that all rows have": labelled(rows).figures,
    }
    bags, whole = both(monkeypatch, measures[case])
    assert bags.keys() == whole.keys()
    assert bags != whole, "these are not from bags"
    for name, one in bags.items():
        width = whole[name].high - whole[name].low
        assert one.value == whole[name].value
        assert one.low == pytest.approx(whole[name].low, abs=0.25 * width), name
        assert one.high == pytest.approx(whole[name].high, abs=0.25 * width), name


def test_they_hold_the_truth_about_as_often_as_they_say():
    """The slope through the origin of noise around twice a number; 95 of 100; 99.9 % bound of the binomial."""

    def held(seed):
        random = np.random.default_rng(seed)
        x = random.normal(size=EXACT_UP_TO + 1)
        y = 2 * x + random.normal(size=len(x))

        def of(rows):
            return lambda weights: {"slope": float(weights @ (x[rows] * y[rows]) / (weights @ x[rows] ** 2))}

        found = intervals(of, len(x), [])["slope"]
        return found.low <= 2 <= found.high

    assert sum(map(held, range(50))) >= 41


def test_the_work_does_not_grow_with_the_rows():
    seen = []

    def of(rows):
        seen.append(len(rows))
        return lambda weights: {"rows": float(weights.sum())}

    for rows in (EXACT_UP_TO + 1, 20 * EXACT_UP_TO):
        found = intervals(of, rows, [np.arange(rows) % 7])["rows"]
        assert (found.low, found.value, found.high) == pytest.approx((rows, rows, rows))
    assert seen.count(EXACT_UP_TO + 1) == seen.count(20 * EXACT_UP_TO) == 1
    assert len(seen) == 2 + 2 * bootstrap.BAGS
    assert max(one for one in seen if one <= EXACT_UP_TO) < EXACT_UP_TO / 2


def test_rows_are_alike_by_all_their_whole_numbers():
    facts = [
        np.array([5, 5, 10**12, 5]),
        np.array([[0, 1], [0, 1], [0, 1], [1, 1]], bool),
        np.array([0.1, 0.2, 0.3, 0.4]),
    ]
    assert alike([np.tile(one, (4,) + (1,) * (one.ndim - 1)) for one in facts], 16).tolist() == [0, 0, 2, 1] * 4
    assert alike([], 3).tolist() == [0, 0, 0]
    assert alike([np.arange(9)], 9) is None


def test_where_hardly_any_rows_are_alike_all_are_drawn_from():
    rows = EXACT_UP_TO + 1
    sizes = []

    def of(chosen):
        sizes.append(len(chosen))
        return lambda weights: {"one": 1.0}

    intervals(of, rows, [np.arange(rows)])
    intervals(of, rows)
    assert sizes == [rows, rows]


def test_figures_of_numbers_that_one_row_may_decide_are_drawn_from_all_rows():
    rows = EXACT_UP_TO + 1
    truth = np.random.default_rng(0).standard_t(2.5, (rows, 1))
    facts = Regression().facts({"values": np.zeros_like(truth), "low": truth, "high": truth}, truth)
    assert Whole({}, facts, Regression().pooled).kinds() is None
    assert answered(100, 0).kinds() is not None

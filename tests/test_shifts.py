"""Tests of two samples: right about as often as they say where nothing moved, and sharp where something did."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from components.statistics.drift import index
from components.statistics.shifts import (
    counts_differ,
    larger,
    numbers_differ,
    shares_differ,
    together,
    told_apart,
)

DRAWS, RATE = 400, 0.05


def counted(draw, rows, shares):
    return np.bincount(draw.choice(len(shares), rows, p=shares), minlength=len(shares)).astype(float)


def number(draw, by=0.0):
    return numbers_differ(draw.normal(0, 1, 300), draw.normal(by, 1, 200))


def rounded(draw, by=0.0):
    return numbers_differ(np.round(draw.normal(0, 2, 300)), np.round(draw.normal(2 * by, 2, 200)))


def category(draw, by=0.0):
    shares = np.array([0.5, 0.3, 0.1, 0.05, 0.03, 0.01, 0.01])
    moved = shares + by * np.array([-0.3, 0.3, 0, 0, 0, 0, 0])
    return counts_differ(counted(draw, 300, shares), counted(draw, 200, moved))


def share(draw, by=0.0):
    return shares_differ(draw.binomial(300, 0.05), 300, draw.binomial(200, 0.05 + 0.15 * by), 200)


def worse(draw, by=0.0):
    return larger((draw.random(300) < 0.1).astype(float), (draw.random(200) < 0.1 + 0.15 * by).astype(float))


def vectors(draw, by=0.0):
    before, now = draw.normal(size=(300, 6)), draw.normal(size=(200, 6))
    now[:, 2] += by
    return told_apart(before, now)[1]


TESTS = {one.__name__: one for one in (number, rounded, category, share, worse, vectors)}


@pytest.mark.parametrize("test", TESTS)
def test_alike_samples_are_called_different_as_often_as_the_test_says_and_no_oftener(test):
    draw = np.random.default_rng(7)
    wrong = sum(TESTS[test](draw) <= RATE for _ in range(DRAWS))
    assert wrong <= binom.ppf(0.999, DRAWS, RATE)


@pytest.mark.parametrize("test", TESTS)
def test_samples_that_differ_are_told_apart(test):
    draw = np.random.default_rng(8)
    found = [TESTS[test](draw, by=1.0) for _ in range(20)]
    assert np.quantile(found, 0.8) < 1e-3


@pytest.mark.parametrize(
    "p",
    [
        numbers_differ(np.empty(0), np.arange(5.0)),
        counts_differ(np.array([3.0, 0.0]), np.array([2.0, 0.0])),
        counts_differ(np.zeros(3), np.ones(3)),
        counts_differ(np.array([2.0, 1.0, 1.0]), np.array([1.0, 1.0, 1.0])),
        shares_differ(0, 0, 1, 2),
        larger(np.ones(5), np.ones(4)),
        told_apart(np.ones((2, 3)), np.ones((3, 3)))[1],
    ],
)
def test_what_cannot_be_compared_is_no_finding(p):
    assert p == 1.0


@given(st.lists(st.floats(0, 1), max_size=20))
def test_many_p_values_are_raised_and_keep_their_order(values):
    raised = together(values)
    assert all(value <= one <= 1 for value, one in zip(values, raised, strict=True))
    order = np.argsort(values, kind="stable")
    assert all(np.diff(np.array(raised)[order]) >= 0)
    assert (
        together(values)[int(order[0])] == pytest.approx(min(1, values[int(order[0])] * len(values)))
        if values
        else True
    )


def test_a_bound_holds_for_many_tests_together():
    """Twenty tests of nothing, a thousand times: some are below the bound alone, together no oftener than it says."""
    draw = np.random.default_rng(9)
    values = draw.random((1000, 20))
    assert (values.min(1) <= RATE).mean() > 0.5
    assert sum(min(together(row)) <= RATE for row in values) <= binom.ppf(0.999, 1000, RATE)


def test_the_index_of_counts_is_none_for_equal_shares():
    assert index(np.array([10.0, 20.0, 0.0]), np.array([100.0, 200.0, 0.0])) == pytest.approx(0, abs=0.01)
    assert index(np.array([90.0, 10.0]), np.array([10.0, 90.0])) > 1

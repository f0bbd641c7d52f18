"""Rows that a forest sets apart: the oracle is scikit-learn's own scoring."""

import json
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.ensemble import IsolationForest

from components.features import forest
from components.features.number import Number
from components.statistics.samples import MOST

FLAG = Number(
    columns=("a", "b"), outliers="flag", outlier_rule="isolation-forest", outlier_share=0.02, missing_flags=True
)


def rows(count, far=0):
    """Two columns that say nearly the same, and rows of which one says the contrary of the other."""
    drawn = np.random.default_rng(0)
    one = drawn.normal(0, 1, count)
    values = np.stack([one, one + drawn.normal(0, 0.05, count)], axis=1)
    values[:far] = drawn.normal([2.5, -2.5], 0.4, (far, 2))
    return values.astype(np.float32)


def state_of(feature, values, parts=1):
    tables = [pa.table(dict(zip("ab", one.T, strict=True))) for one in np.array_split(values, parts)]
    return feature.finish(reduce(feature.merge, [feature.fit(feature.prepare(one)) for one in tables]))


def test_paths_are_as_long_as_scikit_learn_says():
    values = rows(1000, far=5)
    keys = forest.partial_of(values.astype(np.float64))
    state = forest.grown(keys, np.zeros(2), np.ones(2), 0.01)["forest"]
    assert json.loads(json.dumps(state)) == state
    sample = np.array(keys["rows"])[np.argsort(np.array(keys["keys"], np.uint64))].astype(np.float32)
    theirs = IsolationForest(n_estimators=forest.TREES, random_state=forest.SEED).fit(sample)
    mean = forest.lengths(torch.from_numpy(values), state).numpy()
    expected = forest._expected(np.array([256]))[0]
    assert -(2 ** (-mean / expected)) == pytest.approx(theirs.score_samples(values), abs=1e-12)


def test_rows_that_are_strange_as_a_whole_are_flagged():
    values = rows(6000, far=20)
    state = state_of(FLAG, values)
    tensor = FLAG.apply(torch.from_numpy(values), state)
    assert tensor.shape == (6000, 5) == (6000, FLAG.spec(state).size)
    flags = tensor[:, 4].numpy()
    assert flags[:20].mean() >= 0.9
    assert 0.01 < flags[20:].mean() < 0.03
    cells = FLAG.model_copy(update={"outlier_rule": "iqr"})
    assert not cells.apply(torch.from_numpy(values), state_of(cells, values))[:20, 4:].any(), "no cell says so alone"
    lost = torch.tensor([[float("nan"), 0.0], [float("nan"), float("nan")]])
    assert FLAG.apply(lost, state)[:, 2:].tolist() == [[1, 0, 0], [1, 1, 0]]


def test_the_forest_of_many_parts_is_that_of_all():
    values = rows(3 * MOST)
    values[::7, 1] = np.nan
    whole, parts = state_of(FLAG, values), state_of(FLAG, values[::-1].copy(), parts=9)
    assert parts["mean"] == pytest.approx(whole["mean"], abs=1e-12)
    here, there = (FLAG.apply(torch.from_numpy(values), one)[:, 4] for one in (whole, parts))
    assert 0.01 < here.mean() < 0.03
    assert 0.01 < there.mean() < 0.03
    assert (here != there).float().mean() < 0.02, "they are grown on other rows"


def ages(count):
    return np.random.default_rng(0).normal(40, 12, (count, 2)).round()


def hours(count):
    return np.random.default_rng(0).integers(0, 24, (count, 2)).astype(float)


def zeros(count):
    values = np.random.default_rng(0).normal(5, 1, (count, 2))
    values[: count * 3 // 5] = 0
    return values


def ones(count):
    return np.ones((count, 2))


@pytest.mark.parametrize("made", [ages, hours, zeros, ones])
@pytest.mark.parametrize(("count", "parts"), [(10, 1), (20_000, 5)])
def test_of_rows_that_are_often_equal_no_more_are_flagged(made, count, parts):
    values = made(count).astype(np.float32)
    state = state_of(FLAG, values, parts)
    assert "forest" in state
    flags = FLAG.apply(torch.from_numpy(values), state)[:, 4]
    assert flags.mean() <= (0.04 if count > 10 else 0.2)
    if made is zeros:
        assert not flags[: count * 3 // 5].any()


def test_the_cells_of_a_row_that_is_set_apart_are_brought_to_where_the_others_lie():
    values = rows(6000, far=20)
    values[:3] = [[30, 30], [0.1, -40], [np.nan, 30]]
    clip = FLAG.model_copy(update={"outliers": "clip", "missing_flags": False})
    state = state_of(clip, values)
    flags = FLAG.apply(torch.from_numpy(values), state_of(FLAG, values))[:, 4].bool().numpy()
    before = (values - state["mean"]) / state["scale"]
    after = clip.apply(torch.from_numpy(values), state).numpy()
    assert after.shape == (6000, 2) == (6000, clip.spec(state).size)
    assert np.allclose(after[~flags], np.nan_to_num(before)[~flags], atol=1e-5), "the others stay"
    assert (after[flags] >= np.array(state["low"]) - 1e-6).all()
    assert (after[flags] <= np.array(state["high"]) + 1e-6).all()
    assert after[0] == pytest.approx(state["high"])
    assert after[1] == pytest.approx([before[1, 0], state["low"][1]], abs=1e-5), "the other cell lay among them"
    assert after[2, 0] == 0, "a missing cell is filled"
    for bound, share in (("low", 0.01), ("high", 0.99)):
        assert (np.abs(state[bound]) > np.abs(np.nanquantile(before[~flags], share, axis=0))).all()
    moved = int((np.abs(after - np.nan_to_num(before)) > 1e-6).sum())
    assert clip.counted(values, state) == {"filled": 1, "clipped": moved}
    empty = clip.finish(
        clip.fit(clip.prepare(pa.table({"a": pa.array([], pa.float64()), "b": pa.array([], pa.float64())})))
    )
    assert clip.apply(torch.zeros((1, 2)), empty).tolist() == [[0, 0]]

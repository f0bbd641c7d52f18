import numpy as np
import pyarrow as pa

from components.statistics.bootstrap import EXACT_UP_TO, interval
from components.statistics.keys import SPLITS, TEST, TRAIN, VALIDATION, assign, row_keys

ROWS = pa.table({"a": ["x", None, "x"], "b": pa.array([1, 2, 1]), "c": pa.array([b"\x00", b"", b"\x00"], pa.binary())})


def nothing_given(keys):
    return np.full(len(keys), "", object)


def test_keys_hang_on_cells_and_names_not_on_order():
    keys = row_keys(ROWS)
    assert keys[0] == keys[2] != keys[1]
    assert row_keys(ROWS.select(["c", "a", "b"])).tolist() == keys.tolist()
    assert row_keys(ROWS.take([1, 0])).tolist() == keys[[1, 0]].tolist()


def test_keys_never_change():
    """A new release of the hash's library would move rows between train and test; these are golden."""
    assert row_keys(ROWS).tolist()[:2] == [14398107149681759898, 10409573820982644917]


def test_shares_are_kept_and_nest_as_data_grow():
    keys = row_keys(pa.table({"n": np.arange(40_000)}))
    parts = assign(keys, nothing_given(keys), 0.2, 0.1)
    shares = {split: float((parts == split).mean()) for split in SPLITS}
    assert abs(shares[TEST] - 0.2) < 0.01
    assert abs(shares[VALIDATION] - 0.08) < 0.01
    assert (assign(keys[:1000], nothing_given(keys[:1000]), 0.2, 0.1) == parts[:1000]).all()
    wider = assign(keys, nothing_given(keys), 0.3, 0.1)
    assert (wider[parts == TEST] == TEST).all(), "a row that was in the test part stays there"


def test_a_given_part_is_kept_and_validation_comes_out_of_training_only():
    keys = row_keys(pa.table({"n": np.arange(1000)}))
    given = np.array([TEST, TRAIN] * 500, object)
    parts = assign(keys, given, 0.5, 0.2)
    assert (parts[::2] == TEST).all()
    assert set(parts[1::2]) == {TRAIN, VALIDATION}


def test_an_interval_holds_the_mean_and_narrows_with_rows():
    random = np.random.default_rng(0)
    small, large = (interval((random.random(rows) < 0.9).astype(float)) for rows in (200, EXACT_UP_TO + 1))
    assert small.low < small.value < small.high
    assert large.high - large.low < small.high - small.low
    assert large.low < 0.9 < large.high


def test_bootstrap_and_normal_interval_agree():
    values = (np.random.default_rng(1).random(EXACT_UP_TO) < 0.8).astype(float)
    exact, normal = interval(values), interval(np.append(values, 0.8))
    assert abs(exact.low - normal.low) < 0.001
    assert abs(exact.high - normal.high) < 0.001


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(2)
    held = [interval((random.random(300) < 0.7).astype(float), seed).covers(0.7) for seed in range(100)]
    assert 88 <= sum(held) <= 100

"""The loader: every row once an epoch, for any number of ranks and from any place on, and shards that others can read."""

import itertools
import threading
import time

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from components.adapters import dataset_store, orders
from components.adapters.ahead import ahead
from components.adapters.dataset_store import Loader, ShardFile, Shards
from components.adapters.lookups import Lookup
from components.adapters.orders import Drawn, Everywhere, Nearby, Straight
from components.adapters.shard_files import Ragged, open_shard, write_shard
from components.contracts.spec import ROW_WEIGHT

BOUNDS = [(0, 10), (10, 12), (12, 12), (12, 35)]


def words(start, stop):
    """Row n has n % 4 words."""
    lengths = np.arange(start, stop) % 4
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Ragged(flat=np.repeat(np.arange(start, stop), lengths).astype(np.int32), offsets=offsets)


@pytest.fixture
def files(tmp_path):
    """35 rows in four shards, one of them empty: pixels, codes with a lookup for each shard, and words."""
    values = np.arange(35 * 6).reshape(35, 2, 3).astype(np.float32)
    codes = (np.arange(35, dtype=np.int32) % 3 - 1).reshape(35, 1)
    found = []
    for number, (start, stop) in enumerate(BOUNDS):
        path = tmp_path / f"{number}.arrow"
        write_shard({"x": values[start:stop], "codes": codes[start:stop], "words": words(start, stop)}, path)
        found.append(ShardFile(path=str(path), rows=stop - start))
    return found


def lookups():
    """Of each shard its own; a word stays the word that it is."""
    same = Ragged.of([[number] for number in range(40)], np.int32)
    tables = [[np.array([7 + number, 8 + number, 99], np.int32)] for number in range(len(BOUNDS))]
    return [{"codes": Lookup(one), "words": Lookup(same)} for one in tables]


def numbers(batches):
    """The numbers of the rows of some batches, without those that fill up."""
    found = []
    for batch in batches:
        rows = (batch["x"][:, 0, 0] / 6).astype(int)
        found += rows[batch.get(ROW_WEIGHT, np.ones(len(rows))) > 0].tolist()
    return found


def test_an_epoch_holds_every_row_once_with_its_columns_together(files):
    batches = list(Loader(files, 8, seed=3, lookups=lookups()).epoch(0))
    assert [len(batch["x"]) for batch in batches] == [8, 8, 8, 8, 3]
    assert sorted(numbers(batches)) == list(range(35))
    for batch in batches:
        rows = numbers([batch])
        assert rows == sorted(rows)
        for at, row in enumerate(rows):
            assert (batch["x"][at] == np.arange(6).reshape(2, 3) + 6 * row).all()
            shard = next(number for number, (start, stop) in enumerate(BOUNDS) if start <= row < stop)
            assert batch["codes"][at, 0] == (99 if row % 3 == 0 else 6 + shard + row % 3)
            start, stop = batch["words"].offsets[at : at + 2]
            assert batch["words"].flat[start:stop].tolist() == [row] * (row % 4)


@pytest.mark.parametrize(("size", "ranks"), [(33, 2), (2, 2), (16, 3)])
def test_each_of_several_ranks_has_two_rows_or_more_and_the_mean_is_the_batchs(files, size, ranks):
    whole = [batch["x"][:, 0, 0] for batch in Loader(files, size, seed=3).epoch(0)]
    shares = zip(*(Loader(files, size, seed=3, rank=rank, ranks=ranks).epoch(0) for rank in range(ranks)), strict=True)
    for rows, batches in zip(whole, shares, strict=True):
        assert all(len(batch["x"]) >= 2 for batch in batches)
        means = [np.mean(batch["x"][:, 0, 0] * batch.get(ROW_WEIGHT, 1)) for batch in batches]
        assert np.mean(means) == pytest.approx(rows.mean(), rel=1e-6)


def test_an_epoch_hangs_on_its_seed_and_number_only(files):
    def order(seed, epoch):
        return numbers(Loader(files, 8, seed=seed).epoch(epoch))

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1) != order(2, 1)
    assert order(None, 0) == order(None, 1) == list(range(35))


def test_a_single_row_left_over_joins_the_batch_before_it(files):
    loader = Loader(files, 17)
    assert [len(batch["x"]) for batch in loader.epoch(0)] == [17, 18]
    assert len(loader) == 2


@pytest.mark.parametrize("batch_size", [4, 8, 35, 100])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_a_batch_has_the_same_rows_for_any_number_of_ranks(files, ranks, batch_size):
    """All ranks step equally often with as many rows, and what fills up weighs nothing."""
    whole = list(Loader(files, batch_size, seed=1).epoch(5))
    shares = [list(Loader(files, batch_size, seed=1, rank=rank, ranks=ranks).epoch(5)) for rank in range(ranks)]
    assert {len(share) for share in shares} == {len(whole)}
    for step, batch in enumerate(whole):
        of_step = [share[step] for share in shares]
        assert sorted(itertools.chain(*(numbers([one]) for one in of_step))) == numbers([batch])
        assert len({len(one["x"]) for one in of_step}) == 1
        if ROW_WEIGHT in of_step[0]:
            weights = np.concatenate([one[ROW_WEIGHT] for one in of_step])
            assert (weights > 0).sum() == len(batch["x"])
            assert weights.mean() == pytest.approx(1), "the mean over ranks is the batch's"


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_a_run_that_goes_on_in_the_middle_sees_what_it_would_have_seen(files, ranks):
    for rank in range(ranks):
        loader = Loader(files, 8, seed=2, rank=rank, ranks=ranks)
        whole = [numbers([batch]) for batch in loader.epoch(3)]
        for start in range(len(whole) + 1):
            again = Loader(files, 8, seed=2, rank=rank, ranks=ranks)
            assert [numbers([batch]) for batch in again.epoch(3, start)] == whole[start:]


def test_batches_that_are_gathered_ahead_are_the_same_and_last_until_the_next(files):
    loader = Loader(files, 8, seed=2)
    expected = [numbers([batch]) for batch in loader.epoch(3, 1)]
    assert [numbers([batch]) for batch in loader.ahead(3, 1)] == expected
    seen = []
    for batch in loader.ahead(3, 1):
        time.sleep(0.02)
        seen.append(numbers([batch]))
    assert seen == expected


def test_what_runs_ahead_ends_with_whom_it_is_for():
    def items():
        try:
            yield from range(100)
        finally:
            ended.append(True)

    def failing():
        yield 1
        raise OSError("gone")

    ended = []
    for item in ahead(items(), 2):
        if item == 3:
            break
    before = threading.active_count()
    found = ahead(failing(), 2)
    assert next(found) == 1
    with pytest.raises(OSError, match="gone"):
        next(found)
    assert threading.active_count() <= before
    assert not [one for one in threading.enumerate() if one.name == "millrace-ahead"]


def test_rows_that_are_left_out_are_not_there(files, tmp_path):
    np.save(tmp_path / "first.npy", np.array([0, 3, 9]))
    np.save(tmp_path / "last.npy", np.array([22]))
    kept = [
        ShardFile(**vars(file) | {"without": str(tmp_path / name) if name else ""})
        for file, name in zip(files, ["first.npy", "", "", "last.npy"], strict=True)
    ]
    expected = [row for row in range(35) if row not in {0, 3, 9, 34}]
    assert Shards(kept).rows == 31
    assert numbers(Loader(kept, 4).epoch(0)) == expected
    assert sorted(numbers(Loader(kept, 4, seed=0).epoch(0))) == expected


@pytest.mark.parametrize("rows", [1, 2, 5, 1000, 4097])
@pytest.mark.parametrize("kind", ["drawn", "computed", "nearby", "given", "straight"])
def test_an_order_has_every_row_once_wherever_it_is_read_from(rows, kind, monkeypatch):
    def order(epoch):
        match kind:
            case "nearby":
                return Nearby(rows, 1, epoch, block=10, blocks=3)
            case "given":
                return Drawn(np.random.default_rng(epoch).permutation(rows))
            case "straight":
                return Straight(rows)
            case _:
                return Everywhere(rows, 1, epoch)

    monkeypatch.setattr(orders, "DRAWN", 0 if kind == "computed" else 2**22)
    whole = order(0).at(0, rows)
    assert sorted(whole.tolist()) == list(range(rows))
    pieces = [order(0).at(start, min(start + 7, rows)) for start in range(0, rows, 7)]
    assert np.concatenate(pieces).tolist() == whole.tolist()
    if rows == 4097 and kind != "straight":
        assert order(1).at(0, rows).tolist() != whole.tolist()
        assert abs(np.corrcoef(whole, np.arange(rows))[0, 1]) < 0.2


def test_a_window_of_neighbours_touches_few_blocks():
    order = Nearby(10_000, 0, 0, block=100, blocks=4)
    for start in range(0, 10_000, 400):
        assert len({row // 100 for row in order.at(start, start + 400).tolist()}) == 4


def test_a_shard_is_mapped_where_it_lies(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    write_shard({"x": values, "n": np.arange(4, dtype=np.float32)}, tmp_path / "a.arrow")
    found = open_shard(tmp_path / "a.arrow")
    assert (found["x"] == values).all()
    assert found["n"].tolist() == [0, 1, 2, 3]
    assert not found["x"].flags.writeable
    assert not found["x"].flags.owndata
    write_shard({"x": values[:0], "w": words(0, 0)}, tmp_path / "b.arrow")
    empty = open_shard(tmp_path / "b.arrow")
    assert empty["x"].shape == (0, 3, 2)
    assert len(empty["w"]) == 0


def test_pandas_and_duckdb_read_a_shard_without_us(files):
    path = files[3].path
    expected = [[float(6 * row + at) for at in range(6)] for row in range(12, 35)]
    texts = [[row] * (row % 4) for row in range(12, 35)]
    frame = pd.read_feather(path)
    assert [one.tolist() for one in frame["x"]] == expected
    assert [one.tolist() for one in frame["words"]] == texts
    shard = pa.ipc.open_file(path).read_all()
    found = duckdb.from_arrow(shard).query("shard", "select x, words from shard").fetchall()
    assert [list(x) for x, _ in found] == expected
    assert [words for _, words in found] == texts


def test_truths_are_kept_as_bytes(tmp_path):
    write_shard(
        {"b": np.array([[True, False], [False, True]]), "r": Ragged.of([[True], [False, True]], bool)}, tmp_path / "s"
    )
    found = open_shard(tmp_path / "s")
    assert found["b"].tolist() == [[1, 0], [0, 1]]
    assert found["r"].flat.tolist() == [1, 0, 1]


@pytest.mark.parametrize("shuffle", ["everywhere", "nearby"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_batches_that_are_gathered_together_are_those_that_are_gathered_alone(files, monkeypatch, ranks, shuffle):
    """Whatever is gathered at once, also from the middle of an epoch and into arrays that are written over."""

    def seen(together):
        monkeypatch.setattr(dataset_store, "SPAN_BYTES", together)
        loader = Loader(files, 4, seed=7, lookups=lookups(), shuffle=shuffle, rank=ranks - 1, ranks=ranks)
        whole = [_cells(batch) for batch in loader.epoch(2, spaces=2)]
        return whole, [_cells(batch) for batch in loader.epoch(2, 3)]

    (alone, after), (together, later) = seen(0), seen(200)
    assert alone == together
    assert after == later == alone[3:]


def _cells(batch):
    return {
        name: (values.flat.tolist(), values.offsets.tolist())
        if isinstance(values, Ragged)
        else (str(values.dtype), values.tolist())
        for name, values in batch.items()
    }


def test_each_shard_is_asked_once_for_many_small_batches(files, monkeypatch):
    """A batch of two rows has rows of few of the shards; all batches together need not ask each of them again."""
    asked = []
    gather = Shards.gather
    monkeypatch.setattr(
        Shards, "gather", lambda self, rows, *more: asked.append(len(rows)) or gather(self, rows, *more)
    )
    assert len(list(Loader(files, 2, seed=0).epoch(0))) == 17
    assert asked == [35]

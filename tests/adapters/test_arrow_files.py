"""Snapshots' files: what was written is read, and equal tables are equal bytes however they came about."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.adapters.arrow_files import read_table, write_table
from components.cleaning.cells import ARROW

CELLS = {
    "string": st.text(max_size=5),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "date": st.dates(dt.date(1950, 1, 1), dt.date(2100, 1, 1)),
    "timestamp": st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
    "binary": st.binary(max_size=5),
    "floats": st.lists(st.one_of(st.none(), st.floats(allow_nan=False)), max_size=3),
    "strings": st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=3),
}


def body(table, folder):
    write_table(table, folder / "t.arrow")
    return (folder / "t.arrow").read_bytes()


@settings(max_examples=100, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(CELLS)))
def test_equal_tables_are_equal_bytes_however_they_came_about(tmp_path_factory, data, kind):
    folder = tmp_path_factory.mktemp("arrow")
    cells = data.draw(st.lists(st.one_of(st.none(), CELLS[kind]), max_size=30))
    plain = pa.table({"a": pa.array(cells, ARROW[kind])})
    expected = body(plain, folder)
    assert read_table(folder / "t.arrow").equals(plain)
    # Sliced out of a longer one, in chunks, with other values under what is missing, taken in another order and back.
    longer = pa.array([*cells[:3], *cells, *cells[-3:]], ARROW[kind]).slice(len(cells[:3]), len(cells))
    cut = data.draw(st.integers(0, len(cells)))
    chunks = pa.chunked_array([longer.slice(0, cut), longer.slice(cut)], ARROW[kind])
    order = np.random.default_rng(0).permutation(len(cells))
    taken = plain["a"].take(pa.array(order)).take(pa.array(np.argsort(order)))
    masked = pc.if_else(
        pa.array([cell is not None for cell in cells], pa.bool_()), plain["a"], pa.scalar(None, ARROW[kind])
    )
    for other in (longer, chunks, taken, masked):
        assert body(pa.table({"a": other}), folder) == expected


def test_what_lies_under_a_missing_cell_is_not_written(tmp_path):
    valid = pa.py_buffer(np.packbits([1, 0, 1, 0, 0, 0, 0, 0], bitorder="little"))
    for junk in (7, 8):
        numbers = pa.Array.from_buffers(pa.int64(), 3, [valid, pa.py_buffer(np.array([1, junk, 3]))])
        texts = pa.Array.from_buffers(
            pa.string(), 3, [valid, pa.py_buffer(np.array([0, 1, 2, 3], np.int32)), pa.py_buffer(b"a%db" % junk)]
        )
        truths = pa.Array.from_buffers(pa.bool_(), 3, [None, pa.py_buffer(bytes([0b101 + (junk - 7) * 128]))])
        table = pa.table({"n": numbers, "t": texts, "b": truths})
        assert table.to_pydict() == {"n": [1, None, 3], "t": ["a", None, "b"], "b": [True, False, True]}
        if junk == 7:
            expected = body(table, tmp_path)
        assert body(table, tmp_path) == expected


def test_names_that_repeat_are_kept_once_in_the_order_in_which_they_come(tmp_path):
    plain = pa.array(["x", "y", "x", "z"]).dictionary_encode()
    other = pa.DictionaryArray.from_arrays(pa.array([2, 0, 2, 1], pa.int32()), pa.array(["y", "z", "x"]))
    chunks = pa.chunked_array([plain.slice(0, 1), other.slice(1)])
    first = body(pa.table({"f": plain}), tmp_path)
    assert body(pa.table({"f": other}), tmp_path) == first
    assert body(pa.table({"f": chunks}), tmp_path) == first


def test_a_table_that_is_mostly_text_is_packed_and_numbers_are_mapped(tmp_path):
    text = pa.table({"t": ["many of the same words " * 20] * 1000})
    assert len(body(text, tmp_path)) < text.nbytes / 3
    assert read_table(tmp_path / "t.arrow").equals(text)
    numbers = pa.table({"n": np.arange(100_000), "m": np.zeros(100_000)})
    body(numbers, tmp_path)
    before = pa.total_allocated_bytes()
    table = read_table(tmp_path / "t.arrow", ["n"])
    assert pa.total_allocated_bytes() - before < 10_000
    assert table["n"].to_pylist()[-1] == 99_999


@pytest.mark.parametrize("rows", [0, 1])
def test_tables_without_rows(tmp_path, rows):
    table = pa.table({"a": pa.array([1] * rows, pa.int64()), "f": pa.array(["x"] * rows).dictionary_encode()})
    body(table, tmp_path)
    assert read_table(tmp_path / "t.arrow").equals(table)


def test_more_than_fits_into_one_batch(tmp_path, monkeypatch):
    from components.adapters import arrow_files

    monkeypatch.setattr(arrow_files, "MOST_BYTES", 1000)
    table = pa.table({"a": np.arange(1000), "f": pa.array(["x", "y"] * 500).dictionary_encode()})
    body(table, tmp_path)
    assert read_table(tmp_path / "t.arrow")["a"].num_chunks > 1
    assert read_table(tmp_path / "t.arrow").to_pydict() == table.to_pydict()

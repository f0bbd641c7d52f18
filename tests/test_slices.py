import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.errors import DataError
from components.evaluate import EvaluateConfig
from components.statistics.expression import Expression
from components.statistics.slices import named, parts_of, traits, worst

ROWS = pa.table({
    "age": [10, 60, None, 70],
    "sex": ["F", "M", "F", None],
    "hours-per-week": [1.0, 2, 3, 4],
    "seen": pa.array([1, 2, 3, 4], pa.timestamp("us")),
})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("age >= 60", [0, 1, 0, 1]),
        ("age >= 60 and sex == 'M'", [0, 1, 0, 0]),
        ("age >= 60 or sex == 'F'", [1, 1, 1, 1]),
        ("not (age > 20)", [1, 0, 0, 0]),
        ("sex in ['F', 'X']", [1, 0, 1, 0]),
        ("sex not in ['F']", [0, 1, 0, 0]),
        ("sex is None", [0, 0, 0, 1]),
        ("age is not None", [1, 1, 0, 1]),
        ("`hours-per-week` * 2 + 1 > 5", [0, 0, 1, 1]),
        ("age / 4 == 2.5", [1, 0, 0, 0]),
        ("10 <= age < 65", [1, 1, 0, 0]),
        ("-age < -60", [0, 0, 0, 1]),
        ("words(sex) == 1 and characters(sex) < 2", [1, 1, 1, 0]),
        ("seen >= '1970-01-01T00:00:00.000003'", [0, 0, 1, 1]),
    ],
)
def test_an_expression_holds_for_the_rows_that_it_says(text, holds):
    assert Expression(text).holds(ROWS, "here").tolist() == [bool(one) for one in holds]


@pytest.mark.parametrize(
    "text",
    ["age >", "__import__('os').system('x') == 0", "age.real > 1", "[a for a in age] == 1", "age in sex", "age is 3",
     "open(age) > 1", "(lambda: 1)() > 0", "f'{age}' == '1'", "age ** 9 > 1"],
)  # fmt: skip
def test_what_is_not_offered_is_refused_when_the_recipe_is_read(text):
    with pytest.raises(ValueError, match=r"cannot be read|not offered|is for"):
        EvaluateConfig(slices=(text,))


@pytest.mark.parametrize(
    ("text", "code"), [("agee > 3", "E_COLUMN_MISSING"), ("nothing", "E_COLUMN_MISSING"), ("age > 'x'", "E_TYPE")]
)
def test_what_does_not_fit_the_rows_says_so(text, code):
    with pytest.raises(DataError, match=f"{code} evaluate.slices") as raised:
        named(text, ROWS, "evaluate.slices")
    assert "age" in str(raised.value)


@given(st.lists(st.one_of(st.none(), st.integers(-100, 100)), min_size=1, max_size=60))
def test_a_columns_parts_take_every_row_once(cells):
    for kind in (pa.int64(), pa.float64(), pa.string()):
        parts = parts_of("c", pa.chunked_array([pa.array(cells, pa.int64()).cast(kind)]))
        assert (np.sum(list(parts.values()), axis=0) == 1).all()


def test_long_texts_are_told_apart_by_their_words_and_lists_not_at_all():
    found = traits(pa.table({"a": ["one two " * 20, "three " * 30], "b": ["x", "y"], "c": [[1], [2]]}))
    assert list(found) == ["words of a", "b"]
    assert found["words of a"].to_pylist() == [41, 31]


def columns(rows, seed):
    random = np.random.default_rng(seed)
    cells = {name: random.choice(list("pqrs"), rows) for name in "abcdef"}
    return random, cells, [parts_of(name, pa.chunked_array([one])) for name, one in cells.items()]


def test_the_search_finds_the_pair_that_is_bad_and_names_its_rows():
    random, cells, parts = columns(4000, 1)
    bad = (cells["b"] == "q") & (cells["e"] == "r")
    values = (random.random(4000) < np.where(bad, 0.55, 0.9)).astype(float)
    found, looked = worst(parts, values, least=30, count=5)
    assert found[0].name == "b = q and e = r"
    assert (found[0].mask == bad).all()
    assert found[0].chance < 1e-6
    assert looked == 24 + 15 * 16


def test_where_nothing_is_worse_the_search_names_nothing():
    """At most one of twenty such searches may name something by chance."""
    named_any = 0
    for seed in range(20):
        random, _, parts = columns(1000, seed)
        found, _ = worst(parts, (random.random(1000) < 0.8).astype(float), least=30, count=5)
        named_any += bool(found)
    assert named_any <= 3

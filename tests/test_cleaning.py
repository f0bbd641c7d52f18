"""What each cleaning operation does to cells and rows, alone, and to a whole snapshot with every row accounted for."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from components import clean, ingest, validate
from components.adapters.snapshot_rows import read_rows
from components.clean import CleanConfig
from components.cleaning import KINDS
from components.cleaning.cast import Cast
from components.cleaning.clip import Clip
from components.cleaning.drop_duplicates import DropDuplicates
from components.cleaning.fill import Fill
from components.cleaning.fix_encoding import FixEncoding
from components.cleaning.keep_rows import KeepRows
from components.cleaning.map_values import MapValues
from components.cleaning.normalise_text import NormaliseText
from components.cleaning.parse import Parse
from components.cleaning.remove_suffix import RemoveSuffix
from components.cleaning.require import Require
from components.cleaning.typed import fits, typed
from components.contracts.errors import ConfigError, DataError
from components.contracts.spec import Column
from components.sources.files import FilesSource
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck

TABLE = pa.table({
    "n": [1, None, 30],
    "t": ["  Ａ  b ", None, "x."],
    "d": pa.array([0, 1, 2], pa.date32()),
    "w": ["MÃ¼ and ü", "Ã©", None],
    "x": [1.0, 2.5, None],
    "p": ["1,5 kg", None, "much"],
})
CASES = {
    "cast": (Cast(columns=("x", "no"), type="int64", wrong="missing"), {"x": [1, None, None]}, None),
    "clip": (Clip(columns=("n", "no"), minimum=2, maximum=9.0), {"n": [2, None, 9]}, None),
    "drop-duplicates": (DropDuplicates(), {}, None),
    "fill": (Fill(columns=("n",), value=7), {"n": [1, 7, 30]}, None),
    "fix-encoding": (FixEncoding(columns=("w",)), {"w": ["MÃ¼ and ü", "é", None]}, None),
    "keep-rows": (KeepRows(column="d", when="at-least", value="1970-01-02"), {}, [False, True, True]),
    "map-values": (MapValues(columns=("t",), to={"x.": "y"}, others="missing"), {"t": [None, None, "y"]}, None),
    "normalise-text": (NormaliseText(columns=("t",), form="NFKC", lower=True), {"t": ["a b", None, "x."]}, None),
    "parse": (
        Parse(columns=("p",), type="float64", decimal=",", unit="kg"),
        {"p": [1.5, None, None]},
        [True, True, False],
    ),
    "remove-suffix": (RemoveSuffix(columns=("t",), suffix="."), {"t": ["  Ａ  b ", None, "x"]}, None),
    "require": (Require(columns=("n",)), {}, [True, False, True]),
}


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_letters_and_their_marks_are_one_sign_in_the_forms_that_compose(form):
    cells = pa.chunked_array([["u\u0308ber", None], ["caf\u00e9", "plain", "e\u0301"]])
    made = NormaliseText(columns=("t",), form=form).values(pa.table({"t": cells}))["t"].to_pylist()
    assert made == ["\u00fcber", None, "caf\u00e9", "plain", "\u00e9"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_operation_changes_what_it_says_and_doing_it_twice_nothing_more(kind):
    operation, cells, keeps = CASES[kind]
    assert operation.kind == kind
    once = operation.values(TABLE)
    assert {**TABLE.to_pydict(), **cells} == once.to_pydict()
    becomes = {"cast": {"x": pa.int64()}, "parse": {"p": pa.float64()}}.get(kind, {})
    assert {one.name: one.type for one in once.schema} == {one.name: one.type for one in TABLE.schema} | becomes
    assert operation.values(once).equals(once)
    found = operation.keeps(TABLE)
    assert (found if found is None else found.to_pylist()) == keeps
    empty = operation.values(TABLE.slice(0, 0))
    assert empty.num_rows == 0
    assert operation.values(pa.table({"other": [1]})).column_names == ["other"], (
        "a column that is not there is passed over"
    )


@pytest.mark.parametrize(
    ("when", "value", "kept"),
    [("equal", 1, [1]), ("not-equal", 1, [30]), ("less", 30, [1]), ("at-most", 30, [1, 30]), ("greater", 1, [30])],
)
def test_rows_are_kept_by_comparison_and_a_missing_cell_does_not_compare(when, value, kept):
    assert TABLE.filter(KeepRows(column="n", when=when, value=value).keeps(TABLE))["n"].to_pylist() == kept


def test_rows_are_kept_by_a_list():
    assert KeepRows(column="t", when="one-of", values_of=("x.",)).keeps(TABLE).to_pylist() == [False, False, True]


@pytest.mark.parametrize(
    "operation",
    [Fill(columns=("n",), value="x"), Clip(columns=("n",), minimum=0.5), KeepRows(column="d", when="less", value="x")],
)
def test_a_value_that_no_cell_can_have_is_one_line(operation):
    with pytest.raises(ConfigError, match="E_CONFIG cleaning.* for .: no value of a .* column"):
        operation.values(TABLE)
        operation.keeps(TABLE)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Clip(columns=("n",)),
        lambda: Clip(columns=("n",), minimum=2, maximum=1),
        lambda: KeepRows(column="n", when="one-of", value=1),
        lambda: KeepRows(column="n", when="less"),
        lambda: MapValues(columns=("t",), to={"a": "b", "b": "c"}),
        lambda: CleanConfig(operations=(DropDuplicates(), DropDuplicates())),
    ],
)
def test_an_operation_that_says_nothing_is_refused_when_the_recipe_is_read(wrong):
    with pytest.raises(ValidationError):
        wrong()


def test_duplicates_are_dropped_over_all_partitions_after_what_stands_before(tmp_path, ctx):
    for name, lines in (("a", "1,A\n2,b\n1, a\n,x\n"), ("b", "1,a\n3,c\n,x\n2,B\n9,z\n")):
        (tmp_path / f"{name}.csv").write_text("n,t\n" + lines)
    checks = ValidateConfig(columns={"n": ColumnCheck(type="int64")})
    config = ingest.IngestConfig(source=FilesSource(uri=str(tmp_path), files="*.csv"), columns=checks.declared())
    valid = validate.run(checks, ingest.run(config, ctx=ctx), ctx=ctx)

    def cleaned(*operations):
        found = clean.run(CleanConfig(operations=operations), valid, ctx=ctx)
        rows = [read_rows(ctx.store, "clean", part.key, ["n", "t"]).to_pylist() for part in found.parts]
        return found.ledger, [[(row["n"], row["t"]) for row in part] for part in rows]

    lower = NormaliseText(columns=("t",), lower=True)
    ledger, rows = cleaned(lower, Require(columns=("n",)), DropDuplicates())
    assert rows == [[(1, "a"), (2, "b")], [(3, "c"), (9, "z")]]
    assert (ledger.rows_in, ledger.rows_out, ledger.deduplicated, ledger.dropped) == (9, 4, 3, {"require": 2})
    assert ledger.changed == {"normalise-text": 3}, "A, B, and one with a space before it"
    ledger, rows = cleaned(DropDuplicates(), lower)
    assert ledger.deduplicated == 1, "before letters are made equal, only the missing row stands twice"
    ledger, rows = cleaned(DropDuplicates(columns=("n",)))
    assert [[n for n, _ in part] for part in rows] == [[1, 2, None], [3, 9]]


def test_values_that_have_to_differ_are_set_aside_over_all_partitions(tmp_path, ctx):
    for name, lines in (("a", '1\n2\n""\n'), ("b", '2\n3\n""\n1\n')):
        (tmp_path / f"{name}.csv").write_text("n,t\n".replace(",t", "") + lines)
    checks = ValidateConfig(columns={"n": ColumnCheck(type="int64", unique=True)}, max_bad_fraction=0.5)
    config = ingest.IngestConfig(source=FilesSource(uri=str(tmp_path), files="*.csv"), columns=checks.declared())
    valid = validate.run(checks, ingest.run(config, ctx=ctx), ctx=ctx)
    rows = [read_rows(ctx.store, "validate", part.key, ["n"])["n"].to_pylist() for part in valid.parts]
    assert rows == [[1, 2, None], [3, None]]
    assert valid.ledger.quarantined == 2
    bad = (ctx.store.files.root / "validate").rglob("quarantine.jsonl")
    assert sum(path.read_text().count("E_DUPLICATE") for path in bad) == 2


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (
            Require(columns=("no",)),
            "E_COLUMN_MISSING cleaning.0: the rows have no such column .got 'no'.; allowed: n, t",
        ),
        (
            KeepRows(column="t", when="at-least", value=18),
            "E_CONFIG cleaning.keep-rows.value for t: no value of a string",
        ),
        (NormaliseText(columns=("n",)), "E_CONFIG cleaning.0: normalise-text is for string columns, and n is int64"),
        (Clip(columns=("t",), minimum=1), "E_CONFIG cleaning.clip.minimum for t: no value of a string column"),
        (KeepRows(column="n", when="one-of", values_of=("1",)), "E_CONFIG cleaning.keep-rows.values_of for n"),
    ],
)
def test_an_operation_on_a_column_that_it_does_not_fit_is_one_line(tmp_path, ctx, operation, expected):
    (tmp_path / "a.csv").write_text("n,t\n1,x\n")
    checks = ValidateConfig(columns={"n": ColumnCheck(type="int64")})
    config = ingest.IngestConfig(source=FilesSource(uri=str(tmp_path), files="*.csv"), columns=checks.declared())
    valid = validate.run(checks, ingest.run(config, ctx=ctx), ctx=ctx)
    with pytest.raises((ConfigError, DataError), match=expected):
        clean.run(CleanConfig(operations=(operation,)), valid, ctx=ctx)


def test_bounds_of_large_whole_numbers_are_exact(tmp_path, ctx):
    (tmp_path / "a.csv").write_text("n\n9007199254740993\n-1\n5\n")
    checks = ValidateConfig(columns={"n": ColumnCheck(type="int64", minimum=-0.5, maximum=1e18)}, max_bad_fraction=0.5)
    config = ingest.IngestConfig(source=FilesSource(uri=str(tmp_path), files="*.csv"), columns=checks.declared())
    assert validate.run(checks, ingest.run(config, ctx=ctx), ctx=ctx).rows == 2


@pytest.mark.parametrize("wrong", [{"pattern": "(?!x).*"}, {"type": "date", "format": "%d/%d/%Y"}, {"pattern": "("}])
def test_a_pattern_or_format_that_cannot_be_used_is_refused_when_the_recipe_is_read(wrong):
    with pytest.raises(ValidationError, match="not a (regular expression|format)"):
        ColumnCheck(**({"type": "string"} | wrong))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("MÃ¼ller", "Müller"),
        ("â‚¬ 5", "€ 5"),
        ("cafÃ© au lait", "café au lait"),
        ("itâ€™s", "it’s"),
        ("ÃƒÂ¼", "ü"),
        ("Müller", "Müller"),
        ("plain", "plain"),
        ("Ã¼ and ü", "Ã¼ and ü"),
        ("naïve ÃÂ", "naïve ÃÂ"),
        ("日本", "日本"),
        (None, None),
    ],
)
def test_text_that_was_read_as_another_encoding_is_made_what_it_was(wrong, right):
    operation = FixEncoding(columns=("t",))
    once = operation.values(pa.table({"t": pa.chunked_array([["a"], [wrong]], pa.string())}))
    assert once["t"].to_pylist() == ["a", right]
    assert operation.values(once)["t"].to_pylist() == ["a", right]


OPERATIONS = [RemoveSuffix(columns=("t", "absent"), suffix="."), Require(columns=("t",))]
TEXTS = pa.table({"t": ["a.", "b", None, "c..", "."]})


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.kind)
def test_every_operation_keeps_rows_and_columns_and_passes_over_a_column_that_is_not_there(operation):
    changed = operation.values(TEXTS)
    assert (changed.column_names, changed.num_rows) == (TEXTS.column_names, TEXTS.num_rows)
    other = pa.table({"z": [1]})
    assert operation.values(other) == other
    assert operation.keeps(other) is None


def test_a_suffix_is_cut_once_and_a_required_cell_counts():
    assert OPERATIONS[0].values(TEXTS)["t"].to_pylist() == ["a", "b", None, "c.", ""]
    assert OPERATIONS[1].keeps(TEXTS).to_pylist() == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("cell", "kind", "value"),
    [
        ("12", "int64", 12),
        ("+12", "int64", 12),
        ("-3", "int64", -3),
        ("9007199254740993", "int64", 9007199254740993),
        ("1.5", "int64", None),
        ("99999999999999999999", "int64", None),
        ("x", "int64", None),
        ("1e3", "float64", 1000.0),
        (".5", "float64", 0.5),
        ("1,5", "float64", None),
        ("nan", "float64", None),
        ("1e999", "float64", None),
        ("True", "bool", True),
        ("0", "bool", False),
        ("yes", "bool", None),
        ("007", "string", "007"),
    ],
)
def test_text_is_read_exactly_or_refused(cell, kind, value):
    column = pa.chunked_array([pa.array([cell, None])])
    assert fits(column, Column(name="c", type=kind)).tolist() == [value is not None, True]
    if value is not None:
        cast = typed(pa.table({"c": column}), [Column(name="c", type=kind)])
        assert cast["c"].to_pylist() == [value, None]

"""Columns that get another type in cleaning: what is declared, what goes, what is counted, and what a request may say."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from mlflow.models import Model
from pydantic import ValidationError

from components.adapters.snapshot_rows import read_rows
from components.cleaning.cast import Cast
from components.cleaning.cells import ARROW
from components.cleaning.clip import Clip
from components.cleaning.counted import cells_changed
from components.cleaning.fill import Fill
from components.cleaning.keep_rows import KeepRows
from components.cleaning.map_values import MapValues
from components.cleaning.parse import Parse
from components.cleaning.require import Require
from components.contracts.errors import ConfigError, DataError
from components.packages import open_package, own_errors
from components.sources.files import FilesSource
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck
from flows.pipeline import PipelineConfig
from tests.line import cleaned_line, packaged, table_recipe

TEXT = {"type": "string"}


def cleaned(folder, ctx, lines, *operations, **types):
    (folder / "t").mkdir()
    (folder / "t" / "a.csv").write_text(lines)
    checks = ValidateConfig(columns={name: ColumnCheck(type=kind) for name, kind in types.items()})
    recipe = table_recipe(folder / "t", source=FilesSource(uri=str(folder / "t")), checks=checks, cleaning=operations)
    made = cleaned_line(recipe, ctx)
    rows = pa.concat_tables([
        read_rows(ctx.store, "clean", part.key, [one.name for one in made.columns]) for part in made.parts
    ])
    return made, rows


def test_text_is_read_after_other_operations_made_it_readable(tmp_path, ctx):
    lines = "w,n\nnone,1\nca. 12,2\n13,3\nmany,4\n,5\n"
    read = Parse(columns=("w",), type="int64")
    mapped = MapValues(columns=("w",), to={"none": "0", "ca. 12": "12"})
    made, rows = cleaned(tmp_path, ctx, lines, mapped, read, Clip(columns=("w",), maximum=12), w="string", n="int64")
    assert rows.to_pydict() == {"w": [0, 12, 12, None], "n": [1, 2, 3, 5]}
    assert [(one.name, one.type) for one in made.columns] == [("w", "int64"), ("n", "int64")]
    assert [(one.name, one.type) for one in made.valid.columns] == [("w", "string"), ("n", "int64")]
    assert (made.ledger.rows_in, made.ledger.rows_out, made.ledger.dropped) == (5, 4, {"parse": 1})
    assert made.ledger.changed == {"map-values": 2, "parse": 3, "clip": 1}


def test_what_cannot_be_read_may_be_missing_instead(tmp_path, ctx):
    missing = Parse(columns=("w",), type="float64", wrong="missing")
    made, rows = cleaned(tmp_path, ctx, "w\n1.5\nmany\n", missing, Fill(columns=("w",), value=9), w="string")
    assert rows["w"].to_pylist() == [1.5, 9.0]
    assert made.ledger.dropped == {}
    assert made.ledger.changed == {"parse": 2, "fill": 1}
    assert made.columns[0].nullable


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (pa.array([1.0, 2.5, None]), "int64", [1, "gone", None]),
        (pa.array([0, 1, 2]), "bool", [False, True, "gone"]),
        (pa.array([1, 2]), "float64", [1.0, 2.0]),
        (pa.array([True, None]), "int64", [1, None]),
        (pa.array([7, None]), "string", ["7", None]),
        (pa.array([datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 1, 7, tzinfo=UTC)]), "date",
         [date(2024, 5, 1), "gone"]),
        (pa.array([date(2024, 5, 1)]), "string", ["2024-05-01"]),
        (pa.array(["1", "x"]), "int64", [1, "gone"]),
    ],
)  # fmt: skip
def test_cells_are_cast_without_loss_or_their_row_goes(cells, kind, expected):
    operation = Cast(columns=("a",), type=kind)
    table = pa.table({"a": cells})
    kept = operation.keeps(table).to_pylist()
    made = operation.values(table)["a"]
    assert made.type == ARROW[kind]
    values = made.to_pylist()
    assert [value if stays else "gone" for value, stays in zip(values, kept, strict=True)] == expected


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ((Parse(columns=("n",), type="int64"),), "E_CONFIG cleaning.0: parse is for string columns, and n is int64"),
        ((Cast(columns=("n",), type="date"),), "E_CONFIG cleaning.type: n is int64, of which no cell can become date"),
        (
            (Parse(columns=("w",), type="int64"), MapValues(columns=("w",), to={"a": "b"})),
            "E_CONFIG cleaning.1: map-values is for string columns, and w is int64",
        ),
        ((Cast(columns=("v",), type="string"),), "E_COLUMN_MISSING cleaning.0: the rows have no such column .got 'v'"),
    ],
)
def test_a_type_that_does_not_fit_is_one_line(tmp_path, ctx, operations, expected):
    with pytest.raises((ConfigError, DataError), match=expected):
        cleaned(tmp_path, ctx, "w,n\n1,1\n", *operations, w="string", n="int64")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "int64", "format": "%d"}, "format says nothing of type int64"),
        ({"type": "date", "unit": "kg"}, "unit says nothing of type date"),
        ({"type": "timestamp", "timezone": "Nowhere"}, "no such time zone"),
        ({"type": "float64", "decimal": ",", "thousands": ","}, "the same sign"),
        ({"type": "image"}, "Input should be"),
        ({"type": "date", "format": "%d %!"}, "not a format"),
        ({"type": "date", "columns": ("w", "w")}, "named twice"),
    ],
)
def test_a_way_of_writing_that_says_nothing_is_refused_when_the_recipe_is_read(fields, expected):
    with pytest.raises(ValidationError, match=expected):
        Parse(**({"columns": ("w",)} | fields))


def test_times_are_read_as_they_are_written():
    operation = Parse(columns=("w",), type="timestamp", format="%d.%m.%Y %H:%M", timezone="Europe/Berlin")
    table = pa.table({"w": ["01.05.2024 12:00", "31.02.2024 12:00", None]})
    assert operation.keeps(table).to_pylist() == [True, False, True]
    assert operation.values(table)["w"].to_pylist() == [datetime(2024, 5, 1, 10, tzinfo=UTC), None, None]


def test_a_request_says_what_the_source_says_and_numbers_are_taken_too(tmp_path, ctx):
    (tmp_path / "t").mkdir()
    rows = "".join(f"about {at % 7},{'ab'[at % 2]},{'yes' if at % 7 > 3 else 'no'},{at}\n" for at in range(200))
    (tmp_path / "t" / "0.csv").write_text("n,c,label,id\n" + rows + "huge,a,no,200\n")
    cleaning = (
        Parse(columns=("n",), type="float64", unit="about"),
        Require(columns=("label",)),
        KeepRows(column="n", when="less", value=6.5),
    )
    checks = ValidateConfig(columns={"n": ColumnCheck(type="string"), "c": ColumnCheck(type="string")})
    _, model = packaged(table_recipe(tmp_path / "t", checks=checks, cleaning=cleaning), ctx)
    folder = ctx.store.folder(ctx.store.artifact("package", model.fingerprint).record()) / "model"
    signature = Model.load(str(folder)).signature.inputs
    assert [(one.name, str(one.type)) for one in signature] == [("n", "DataType.string"), ("c", "DataType.string")]
    predictor = open_package(folder)
    text, numbers = (pa.table({"n": cells, "c": ["a", "a"]}) for cells in (["about 2", "5"], [2.0, 5.0]))
    assert predictor.predict(text).table().equals(predictor.predict(numbers).table())
    with pytest.raises(DataError, match="E_ROW_REJECTED request row 2"), own_errors("correct it"):
        predictor.predict(pa.table({"n": ["about 2", "huge"], "c": ["a", "a"]}))


def test_what_a_feature_needs_is_asked_of_what_cleaning_makes(tmp_path):
    fields = {
        "name": "t",
        "source": {"kind": "files", "uri": str(tmp_path)},
        "features": [{"kind": "number", "columns": ["a", "b", "c", "d"]}],
        "target": {"kind": "label", "column": "label"},
        "model": {"kind": "mlp"},
        "objective": {"kind": "classification"},
        "cleaning": [
            {"kind": "parse", "columns": ["a", "d"], "type": "float64"},
            {"kind": "cast", "columns": ["b"], "type": "float64"},
        ],
        "checks": {"columns": {"d": {"type": "string", "pattern": "[0-9]+"}}},
    }
    found = PipelineConfig.model_validate(fields).validation.columns
    assert {name: one.type for name, one in found.items()} == {"a": "string", "c": "float64", "d": "string"}
    assert found["d"].pattern


def test_cells_are_counted_as_changed_once_each():
    before = pa.table({"a": [1, None, 3], "t": ["x", "y", None], "l": [[1], [2], None]})
    after = pa.table({"a": [1, 2, None], "t": ["x", "z", None], "l": [[1], [3], [4]]})
    assert cells_changed(before, after, ["a", "t", "l", "none"]) == 2 + 1 + 2
    assert cells_changed(before, before, ["a"]) == 0
    assert cells_changed(before, before.set_column(0, "a", [["1", None, "3"]]), ["a"]) == 2

"""One checker for every feature; then what numbers, categories, labels and images have of their own."""

import io
import json
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image as Pillow

from components.contracts.artifacts import FittedFeature
from components.contracts.errors import DataError, EnvironmentFault
from components.features import KINDS
from components.features.category import Category
from components.features.feature import Prepared
from components.features.fitted import load_feature
from components.features.image import Image
from components.features.label import Label
from components.features.number import Number
from tests.features.cases import FEATURES, applied, fit, jpeg, rows_of


@pytest.fixture(scope="module")
def table():
    return rows_of(60)


def test_every_kind_has_a_case():
    # Several targets are stored as their parts are (tests/test_several.py).
    assert {feature.kind for feature in FEATURES.values()} == set(KINDS) - {"several"}


@pytest.mark.parametrize("case", FEATURES)
def test_every_feature_fits_in_parts_stores_json_and_gives_what_its_spec_says(case, table):
    feature = FEATURES[case]
    whole, parts = fit(feature, table), fit(feature, table.slice(40), table.slice(0, 7), table.slice(7, 33))
    assert json.loads(json.dumps(whole)) == whole
    for name, value in whole.items():
        if isinstance(value, list) and value and isinstance(np.ravel(np.array(value, object))[0], float):
            assert np.allclose(value, parts[name], rtol=1e-12)
        else:
            assert value == parts[name]
    tensor = applied(feature, whole, table)
    spec = feature.spec(whole)
    assert [size for size, said in zip(tensor.shape[1:], spec.shape, strict=True) if said >= 0] == [
        said for said in spec.shape if said >= 0
    ]
    assert str(tensor.dtype) == f"torch.{spec.dtype}"
    assert torch.isfinite(tensor.float()).all()
    assert tensor.float().std() > 0 or feature.kind == "none", "it says something"
    for column, classes in enumerate(spec.classes):
        indices = tensor if tensor.ndim == 1 or len(spec.classes) == 1 else tensor[:, column]
        assert 0 <= indices.min() <= indices.max() < classes
    again = load_feature(FittedFeature(config=feature.model_dump(mode="json"), state=whole))
    assert again == feature


def test_numbers_are_standardised_and_a_missing_one_is_the_mean(table):
    state = fit(FEATURES["number"], table)
    tensor = applied(FEATURES["number"], state, table)
    missing = np.asarray(table["x"].is_null())
    assert missing.any()
    assert tensor[missing, 0].abs().max() == 0
    assert tensor[:, 2].tolist() == missing.astype(float).tolist()
    assert abs(float(tensor[~missing, 0].mean())) < 1e-6
    assert abs(float(tensor[~missing, 0].std(unbiased=False)) - 1) < 1e-5


def test_a_constant_or_empty_number_column_gives_zeros():
    constant = pa.table({"k": [5.0, 5.0], "n": pa.array([None, None], pa.float64())})
    feature = Number(columns=("k", "n"))
    assert applied(feature, fit(feature, constant), constant).tolist() == [[0, 0], [0, 0]]


def test_a_number_that_32_bits_cannot_hold_is_one_line():
    with pytest.raises(DataError, match=r"E_VALUE features.numbers: .*got 1e\+39"):
        Number(columns=("k",)).prepare(pa.table({"k": [1.0, 1e39]}))


def test_the_log_keeps_the_sign_and_is_fitted_on_the_same_scale():
    wide = pa.table({"k": [-1000.0, 0.0, 1000.0]})
    feature = Number(columns=("k",), log=True)
    state = fit(feature, wide)
    assert abs(state["mean"][0]) < 1e-12
    assert applied(feature, state, wide)[:, 0].tolist() == pytest.approx([-1.2247, 0, 1.2247], abs=1e-3)


def test_unknown_rare_and_missing_categories_share_index_zero():
    feature = Category(columns=("c",), min_count=2, max_values=1)
    state = fit(feature, pa.table({"c": ["a", "a", "b", "b", "b", "z", None]}))
    assert state == {"vocabularies": [["b"]], "dead": []}
    assert applied(feature, state, pa.table({"c": ["b", "a", "new", None]})).tolist() == [[1], [0], [0], [0]]


def test_classes_that_are_numbers_are_ordered_by_size():
    assert fit(Label(column="l"), pa.table({"l": ["10", "9", "10"]})) == {"classes": ["9", "10"], "counts": [1, 2]}


def test_one_class_is_nothing_to_learn():
    with pytest.raises(DataError, match=r"E_LABEL target.column l: .*fewer than two classes"):
        fit(Label(column="l"), pa.table({"l": ["a", "a"]}))


def test_pixels_are_decoded_resized_and_exact():
    random = np.random.default_rng(1)
    exact = random.integers(0, 255, (4, 4, 3), np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(exact).save(buffer, "PNG")
    table = pa.table({"image": pa.array([buffer.getvalue(), jpeg(random)], pa.binary())})
    values = Image(height=4, width=4).prepare(table).values
    assert values.shape == (2, 3, 4, 4)
    assert (values[0] == exact.transpose(2, 0, 1)).all()
    assert Image(height=3, width=2, channels=1).prepare(table).values.shape == (2, 1, 3, 2)


def test_the_faster_decoder_gives_nearly_the_same_pixels():
    table = pa.table({"image": pa.array([jpeg(np.random.default_rng(2), (16, 16))], pa.binary())})
    slow, fast = (Image(height=16, width=16, decoder=name).prepare(table).values for name in ("pillow", "simplejpeg"))
    assert np.abs(slow.astype(int) - fast).max() <= 2


@pytest.mark.bad_input
def test_bad_input_B51_a_missing_extra_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    table = pa.table({"image": pa.array([jpeg(np.random.default_rng(2))], pa.binary())})
    with pytest.raises(EnvironmentFault, match=r"E_EXTRA_MISSING .*pip install -e '\.\[vision\]'"):
        Image(height=4, width=4, decoder="simplejpeg").prepare(table)


@pytest.mark.parametrize("case", FEATURES)
def test_an_empty_partition_can_be_prepared_and_fitted(case, table):
    feature = FEATURES[case]
    prepared = feature.prepare(table.slice(0, 0))
    assert len(prepared.values) == 0
    assert isinstance(prepared, Prepared)
    merged = feature.merge(feature.fit(prepared), feature.fit(feature.prepare(table)))
    assert feature.finish(merged) == fit(feature, table)


@pytest.mark.parametrize("cells", [["a", "1"], [[1.0], [2.0]], [b"x", b"y"]])
def test_a_number_that_is_none_is_one_line(cells):
    with pytest.raises(
        DataError,
        match=r"E_TYPE features.numbers: a is .*, no number .got 'a'.; give it a feature of its kind .*: declare it",
    ):
        Number(columns=("a",)).prepare(pa.table({"a": cells}))

"""Scales, bins, sounds, series, boxes and shapes of images, beside what others make of the same data."""

import io

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch
from PIL import Image as Pillow
from pydantic import ValidationError
from scipy.fft import dct
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer

from components.contracts.errors import DataError
from components.features.audio import FLOOR, Audio
from components.features.bag import Bag
from components.features.bins import Bins
from components.features.boolean import Boolean
from components.features.boxes import Boxes
from components.features.category import Category
from components.features.image import Image
from components.features.number import Number
from components.features.series import Series
from components.features.times import Times
from components.features.vector import Vector
from tests.features.cases import applied, fit, wav


@pytest.fixture
def numbers():
    random = np.random.default_rng(0)
    return pa.table({"a": random.lognormal(size=3000), "b": np.round(random.normal(0, 2, 3000))})


def array(table):
    return np.stack([table["a"], table["b"]], axis=1)


def test_numbers_are_brought_to_the_scales_that_scikit_learn_has(numbers):
    for scale, theirs, close in (
        ("min-max", MinMaxScaler(), 1e-6),
        ("quantile", QuantileTransformer(n_quantiles=101, subsample=None), 0.01),
    ):
        feature = Number(columns=("a", "b"), scale=scale)
        state = fit(feature, numbers.slice(0, 700), numbers.slice(700))
        assert np.allclose(applied(feature, state, numbers), theirs.fit_transform(array(numbers)), atol=close)
    beyond = pa.table({"a": [-1e6, 1e6], "b": [0.0, None]})
    share = applied(feature, state, beyond)
    assert share[:, 0].tolist() == [0, 1]
    bare = Number(columns=("a", "b"), scale="none")
    assert np.allclose(applied(bare, fit(bare, numbers), numbers), array(numbers), rtol=1e-4, atol=1e-4)
    clipped = Number(columns=("a",), scale="min-max", outliers="clip", outlier_factor=1.0)
    tensor = applied(clipped, fit(clipped, numbers), numbers)
    assert tensor.min() == 0
    assert tensor.max() < 0.5, "what lies far off is clipped first"


def test_bins_hold_as_many_rows_or_are_as_wide(numbers):
    quarters = Bins(columns=("a",), count=4)
    state = fit(quarters, numbers.slice(0, 1000), numbers.slice(1000))
    bins = applied(quarters, state, numbers)[:, 0]
    assert np.bincount(bins).tolist() == pytest.approx([0, 750, 750, 750, 750], abs=4)
    equal = Bins(columns=("b",), count=5, edges="equal")
    state = fit(equal, numbers)
    values = np.asarray(numbers["b"])
    edges = np.linspace(values.min(), values.max(), 6)[1:-1]
    assert np.array(state["edges"][0]) == pytest.approx(edges)
    assert applied(equal, state, numbers)[:, 0].tolist() == (np.digitize(values, edges) + 1).tolist()
    hot = Bins(columns=("b",), count=5, edges="equal", encoding="one-hot")
    some = pa.table({"b": [None, values.min(), 1e9]})
    assert applied(hot, state, some).tolist() == [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]
    constant = pa.table({"b": [2.0, 2.0]})
    assert fit(quarters.model_copy(update={"columns": ("b",)}), constant)["edges"] == [[]]


def test_one_hot_is_a_one_where_the_index_points():
    table = pa.table({"c": ["a", "b", "a", None], "d": ["x", "x", "x", "y"]})
    index, hot = Category(columns=("c", "d")), Category(columns=("c", "d"), encoding="one-hot")
    state = fit(index, table)
    wanted = [torch.nn.functional.one_hot(one, 3) for one in applied(index, state, table).T]
    assert torch.equal(applied(hot, state, table), torch.cat(wanted, 1).float())
    assert hot.spec(state).shape == (6,)


def mel_reference(wave, rate, bands, size, hop):
    """One frame after the other, by the definition."""
    length = 1 << (size - 1).bit_length()
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 1400), bands + 2) / 2595) - 1)
    found = []
    for start in range(0, len(wave) - size + 1, hop):
        frame = [wave[start + n] * np.sin(np.pi * n / size) ** 2 for n in range(size)]
        power = np.abs(np.fft.fft(frame, length)[: length // 2 + 1]) ** 2 / size
        row = []
        for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for number, value in enumerate(power):
                frequency = number * rate / length
                if low < frequency < high:
                    rising = frequency <= middle
                    total += value * (
                        (frequency - low) / (middle - low) if rising else (high - frequency) / (high - middle)
                    )
            row.append(np.log(total + FLOOR))
        found.append(row)
    return np.array(found).T


def test_spectra_follow_their_definition():
    random = np.random.default_rng(0)
    body = wav(random, 0.25, kind="FLAC")
    table = pa.table({"audio": pa.array([body], pa.binary())})
    wave, rate = soundfile.read(io.BytesIO(body))
    mel = Audio(rate=8000, seconds=0.25, bands=10, window=0.03, hop=0.02).prepare(table).values[0]
    wanted = mel_reference(wave[:2000], 8000, 10, 240, 160)
    assert rate == 8000
    assert mel.shape == wanted.shape == (10, 12)
    assert np.allclose(mel, wanted, atol=1e-4)
    mfcc = Audio(rate=8000, seconds=0.25, bands=10, window=0.03, hop=0.02, form="mfcc", coefficients=4)
    assert np.allclose(mfcc.prepare(table).values[0], dct(wanted, axis=0, norm="ortho")[:4], atol=1e-4)


def test_sounds_are_cut_filled_up_mixed_and_resampled():
    random = np.random.default_rng(0)
    cells = [wav(random, 0.5), wav(random, 0.05), None, wav(random, 0.1, rate=16_000, channels=2)]
    table = pa.table({"audio": pa.array(cells, pa.binary())})
    waves = Audio(rate=8000, seconds=0.1, form="wave").prepare(table).values
    assert waves.shape == (4, 800)
    assert np.allclose(waves[0], soundfile.read(io.BytesIO(cells[0]))[0][:800], atol=1e-6)
    assert np.abs(waves[1, :400]).max() > 0.3 > np.abs(waves[1, 400:]).max() == 0 == np.abs(waves[2]).max()
    both = soundfile.read(io.BytesIO(cells[3]))[0].mean(1)
    assert np.corrcoef(waves[3][20:-20], both[::2][20:-20])[0, 1] > 0.99
    with pytest.raises(DataError, match="E_FORMAT features.audio: a sound cannot be decoded"):
        Audio().prepare(pa.table({"audio": pa.array([b"noise"], pa.binary())}))
    with pytest.raises(ValidationError, match="at most as many coefficients as bands"):
        Audio(form="mfcc", bands=8, coefficients=9)


def test_series_are_their_last_steps_each_on_its_own_scale():
    lists = [[1.0, 2.0, 3.0, 5.0], [7.0], [], None, [4.0, 4.0, 4.0]]
    table = pa.table({"s": pa.array(lists, pa.list_(pa.float64()))})
    bare = Series(columns=("s",), window=3, scale="none").prepare(table).values[:, 0]
    assert bare.tolist() == [[2, 3, 5], [7, 7, 7], [0, 0, 0], [0, 0, 0], [4, 4, 4]]
    steps = Series(columns=("s",), window=3, scale="none", differences=True).prepare(table).values[:, 0]
    assert steps[0].tolist() == [0, 1, 2]
    own = Series(columns=("s",), window=3).prepare(table).values[:, 0]
    assert own[0] == pytest.approx((np.array([2, 3, 5]) - 10 / 3) / np.std([2, 3, 5]))
    assert own[1:].tolist() == [[0, 0, 0]] * 4
    whole = Series(columns=("s",), window=3, scale="training")
    tensor = applied(whole, fit(whole, table), table)
    assert tensor.mean() == pytest.approx(0, abs=1e-6)
    assert tensor.std(unbiased=False) == pytest.approx(1, rel=1e-5)
    assert Series(columns=("s",), window=3, scale="none").prepare(table.slice(1, 2)).values[0, 0, 0] == 7
    with pytest.raises(DataError, match="E_VALUE features.series: a list of s lacks a step"):
        whole.prepare(pa.table({"s": pa.array([[1.0, None]])}))


def boxes_table(labels, boxes):
    return pa.table({
        "boxes": pa.array(boxes, pa.list_(pa.float64())), "labels": pa.array(labels, pa.list_(pa.string())),
        "width": [100] * len(labels), "height": [50] * len(labels),
    })  # fmt: skip


def test_boxes_are_shares_of_the_image_with_a_class():
    table = boxes_table([["b", "a"], [], ["a"]], [[10, 5, 20, 25, 0, 0, 100, 50], [], [50, 10, 60, 20]])
    feature = Boxes(classes=("a", "b"))
    state = fit(feature, table)
    assert state["counts"] == [2, 1]
    tensor = applied(feature, state, table)
    assert tensor.shape == (3, 5, 2)
    assert tensor[0].T.tolist() == [pytest.approx([1, 0.1, 0.1, 0.2, 0.5]), [0, 0, 0, 1, 1]]
    assert (tensor[1] == -1).all()
    assert tensor[2, 0].tolist() == [0, -1]
    assert applied(Boxes(classes=("a", "b"), most=1), state, table).shape == (3, 5, 1)


@pytest.mark.parametrize(
    ("labels", "boxes", "line"),
    [
        ([["z"]], [[0, 0, 1, 1]], "E_LABEL features.boxes.classes: a class that the recipe does not name .got 'z'"),
        ([["a"]], [[0, 0, 1]], "E_VALUE features.boxes: 3 sides for 1 labels"),
        ([["a"]], [[5, 5, 5, 9]], "E_VALUE features.boxes: a box is empty, or lies outside"),
        ([["a"]], [[5, 5, 101, 9]], "E_VALUE features.boxes: a box is empty, or lies outside"),
    ],
)
def test_boxes_that_make_no_sense_are_one_line(labels, boxes, line):
    with pytest.raises(DataError, match=line):
        Boxes(classes=("a", "b")).prepare(boxes_table(labels, boxes))


def test_images_of_another_shape_are_stretched_cut_or_given_margins():
    buffer = io.BytesIO()
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30] = 200
    Pillow.fromarray(pixels).save(buffer, "PNG")
    table = pa.table({"image": [buffer.getvalue()]})

    def made(fit_to):
        return Image(height=10, width=10, fit_to=fit_to).prepare(table).values[0, 0]

    assert (made("crop")[:, 1:-1] == 200).all(), "the middle"
    assert (made("pad")[:2] == 0).all()
    assert made("pad")[5, 5] == 200 == made("stretch")[0, 5]
    assert made("stretch")[0, 0] == 0
    unit, imagenet = (Image(height=20, width=40, normalise=one) for one in ("unit", "imagenet"))
    assert applied(unit, fit(unit, table), table).max() == pytest.approx(200 / 255)
    red = applied(imagenet, fit(imagenet, table), table)[0, 0].max()
    assert red == pytest.approx((200 / 255 - 0.485) / 0.229, rel=1e-5)


def test_values_that_are_equal_are_not_divided_by_what_rounding_leaves():
    table = pa.table({
        "x": [0.1] * 1000,
        "when": pa.array([10**15] * 1000, pa.timestamp("us")),
        "s": [[0.3] * 10] * 1000,
    })
    number = Number(columns=("x",), log=True)
    state = fit(number, table.slice(0, 333), table.slice(333))
    assert (state["scale"], state["dead"]) == ([1.0], ["x"])
    assert abs(applied(number, state, pa.table({"x": [0.101]}))).max() < 0.01
    times = Times(columns=("when",), parts=("elapsed",))
    assert fit(times, table.slice(0, 333), table.slice(333))["scale"] == [1.0]
    assert np.abs(Series(columns=("s",), window=10).prepare(table).values).max() < 1e-9


def test_the_bare_scale_leaves_numbers_as_they_are():
    random = np.random.default_rng(0)
    values = [*random.lognormal(0, 3, 500).tolist(), 0.001, 1e9]
    table = pa.table({"x": pa.array([*values, None])})
    feature = Number(columns=("x",), scale="none", outliers="clip")
    tensor = applied(feature, fit(feature, table), table)[:, 0].numpy()
    kept = tensor[:-1] == np.array(values, np.float32)
    assert 0.85 < kept.mean() < 1
    assert tensor[500] == np.float32(0.001)
    assert tensor[501] < 1e9, "clipped"


def test_a_few_values_above_many_that_are_the_same_are_a_bin():
    table = pa.table({"x": [0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0]})
    feature = Bins(columns=("x",), count=10)
    state = fit(feature, table)
    assert state == {"edges": [[1.0]], "dead": []}
    assert np.bincount(applied(feature, state, table)[:, 0]).tolist() == [0, 95, 5]


def test_a_column_that_says_whether_it_is_there_is_not_dead():
    holes, nothing = pa.table({"x": [1.0, None] * 50}), pa.table({"x": pa.array([None] * 100, pa.float64())})
    for feature, dead in (
        (Bins(columns=("x",)), []), (Number(columns=("x",), missing_flags=True), []), (Number(columns=("x",)), ["x"]),
    ):  # fmt: skip
        assert fit(feature, holes)["dead"] == dead
        assert fit(feature, nothing)["dead"] == ["x"]


@pytest.mark.parametrize(
    ("feature", "cells", "line"),
    [
        (Vector(column="c", length=2), [[1e39, 1.0]], "E_VALUE features.vector: a number that is none, or that 32 bits"),
        (Vector(column="c", length=2), [[float("nan"), 1.0]], "E_VALUE features.vector: a number that is none"),
        (Series(columns=("c",), window=2), [[float("inf"), 1.0]], "E_VALUE features.series: a number that is none"),
        (Boxes(boxes="c", classes=("a",)), [[0.0, 5.0, 10.0, None]], "E_VALUE features.boxes: a box is empty, or lies"),
        (Boxes(boxes="c", classes=("a",)), ["no"], "E_TYPE features.boxes: c is string, no list of double"),
        (Image(column="c", height=2, width=2), pa.array([None], pa.binary()), "E_IMAGE features.image: a row has no image"),
    ],
)  # fmt: skip
def test_cells_that_are_no_numbers_are_one_line(feature, cells, line):
    table = boxes_table([["a"]], [[0, 0, 1, 1]]).append_column("c", pa.array(cells))
    with np.errstate(all="ignore"), pytest.raises(DataError, match=line):
        feature.prepare(table)


def test_numbers_of_sixteen_bits_are_scaled_and_not_cut():
    pixels = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG")
    floats = io.BytesIO()
    Pillow.fromarray(pixels.astype(np.float32)).save(floats, "TIFF")
    feature = Image(height=8, width=8, channels=1)
    found = feature.prepare(pa.table({"image": [buffer.getvalue()]})).values[0, 0]
    assert found.tolist() == (pixels // 257).tolist()
    with pytest.raises(DataError, match="E_IMAGE features.image: an image has numbers of kind F"):
        feature.prepare(pa.table({"image": [floats.getvalue()]}))


@pytest.mark.parametrize(
    "fields", [{"window": 0.0004}, {"hop": 0.0004}, {"form": "wave", "seconds": 0.0001}, {"seconds": 0.02}]
)
def test_sounds_of_less_than_their_window_are_refused(fields):
    with pytest.raises(ValidationError, match="at this rate"):
        Audio(**{"rate": 1000, "form": "log-mel", **fields})


def test_a_jpeg_that_pillow_forgives_is_decoded_by_it():
    file = io.BytesIO()
    Pillow.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(file, "JPEG")
    body = file.getvalue()
    at = body.index(b"\xff\xdb", 4)
    stray = pa.table({"image": pa.array([body[:at] + b"\x00\x00" + body[at:]], pa.binary())})
    found = [Image(height=8, width=8, decoder=one).prepare(stray).values for one in ("pillow", "simplejpeg")]
    assert (found[0] == found[1]).all()


@pytest.mark.parametrize("feature", [Series(columns=("x",), window=2), Vector(column="x", length=2)])
def test_a_column_that_is_no_list_is_one_line(feature):
    with pytest.raises(DataError, match="E_TYPE features.(series|vector): x is double, no lists of numbers"):
        feature.prepare(pa.table({"x": [1.0, 2.0]}))


def test_a_feature_that_says_nothing_is_dead():
    table = pa.table({"c": ["a"] * 3, "b": [True] * 3, "t": pa.array([None] * 3, pa.string())})
    for feature in (Category(columns=("c",)), Boolean(columns=("b",), missing_flags=True), Bag(column="t")):
        assert fit(feature, table)["dead"] == [feature.columns[0]]
    missing = pa.table({"c": ["a", None], "b": [True, None]})
    for feature in (Category(columns=("c",)), Boolean(columns=("b",), missing_flags=True)):
        assert fit(feature, missing)["dead"] == []


@pytest.mark.parametrize("feature", [Image(column="t", height=8, width=8), Audio(column="t")])
def test_a_column_that_holds_no_files_is_one_line(feature):
    with pytest.raises(DataError, match="E_TYPE features.(image|audio): t is string, no column of encoded files"):
        feature.prepare(pa.table({"t": ["a", "b"]}))

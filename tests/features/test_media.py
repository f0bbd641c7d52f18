"""Features of pictures, sounds and boxes: what each is defined as, and what is refused."""

import io

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image as Pillow
from pydantic import ValidationError
from scipy.fft import dct

from components.contracts.errors import DataError
from components.features.audio import Audio
from components.features.boxes import Boxes
from components.features.image import Image
from components.features.sound import FLOOR
from tests.features.cases import applied, boxes_table, fit, wav


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


@pytest.mark.parametrize("feature", [Image(column="t", height=8, width=8), Audio(column="t")])
def test_a_column_that_holds_no_files_is_one_line(feature):
    with pytest.raises(DataError, match="E_TYPE features.(image|audio): t is string, no column of encoded files"):
        feature.prepare(pa.table({"t": ["a", "b"]}))

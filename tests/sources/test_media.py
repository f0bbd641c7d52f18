"""Media as their usual archives hold them, read beside what was written."""

import gzip
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from components.contracts.errors import DataError
from components.features.image import Image as ImageFeature
from components.sources.audio_folder import AudioFolderSource
from components.sources.generated import GeneratedSource
from components.sources.image_folder import ImageFolderSource
from components.sources.pixels import CifarSource, MnistSource
from components.sources.sklearn_set import SklearnSource
from components.sources.text_folder import TextFolderSource
from tests.sources.conftest import idx
from tests.sources.media import FORMS, packed, read


@pytest.mark.parametrize("form", FORMS)
def test_pictures_of_every_usual_format_are_read_byte_by_byte_and_decoded(tmp_path, form):
    draw, written = np.random.default_rng(0), {}
    for name in ("a.jpg", "b.jpeg", "c.png", "d.webp", "e.bmp", "f.gif", "g.tiff"):
        path = tmp_path / "tree" / "x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (12, 9, 3), np.uint8)).save(path)
        written[name] = path.read_bytes()
    rows, bad = read(ImageFolderSource(uri=str(packed(tmp_path / "tree", form))), tmp_path)
    assert bad == []
    assert sorted(one["image"] for one in rows) == sorted(written.values())
    decoded = ImageFeature(height=6, width=6).prepare(pa.table({"image": [one["image"] for one in rows]})).values
    assert decoded.shape[0] == len(written)
    assert all(float(np.asarray(one).std()) > 0 for one in decoded)


@pytest.mark.parametrize("form", FORMS)
def test_texts_lie_as_the_imdb_reviews_do(tmp_path, form):
    for split, label, name, text in (
        ("train", "pos", "0_9", "Great – really."), ("train", "neg", "1_2", "Bad."), ("train", "unsup", "2_0", "?"),
        ("test", "pos", "0_10", "Good."),
    ):  # fmt: skip
        (tmp_path / "aclImdb" / split / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "aclImdb" / split / label / f"{name}.txt").write_text(text)
    source = TextFolderSource(
        uri=str(packed(tmp_path / "aclImdb", form)), pattern="[np]*/*.txt", train="train", test="test",
        name_pattern=r"\d+_(?P<stars>\d+)",
    )  # fmt: skip
    rows, bad = read(source, tmp_path)
    assert sorted((one["split"], one["label"], one["text"], one["stars"]) for one in rows) == [
        ("test", "pos", "Good.", "10"),
        ("train", "neg", "Bad.", "2"),
        ("train", "pos", "Great – really.", "9"),
    ]
    assert bad == []


def test_a_text_that_is_not_utf_8_is_set_aside_by_name(tmp_path):
    for name, body in (("a", b"fine"), ("b", b"caf\xe9")):
        (tmp_path / "t" / "x").mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / "x" / f"{name}.txt").write_bytes(body)
    rows, bad = read(TextFolderSource(uri=str(tmp_path / "t")), tmp_path)
    assert [one["text"] for one in rows] == ["fine"]
    assert [(one.file, one.code) for one in bad] == [("x/b.txt", "E_ENCODING")]
    rows, bad = read(TextFolderSource(uri=str(tmp_path / "t"), encoding="latin-1"), tmp_path)
    assert [one["text"] for one in rows] == ["fine", "café"]


@pytest.mark.parametrize("form", FORMS)
def test_recordings_may_say_their_class_in_their_names(tmp_path, form):
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for name in ("0_jackson_0.wav", "7_nicolas_12.wav", "notes.wav"):
        (folder / name).write_bytes(b"RIFF" + name.encode())
    source = AudioFolderSource(
        uri=str(packed(tmp_path / "fsdd", form)), pattern="recordings/*.wav",
        name_pattern=r"(?P<label>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)",
    )  # fmt: skip
    rows, bad = read(source, tmp_path)
    assert [(one["label"], one["speaker"], one["index"], one["audio"]) for one in rows] == [
        ("0", "jackson", "0", b"RIFF0_jackson_0.wav"),
        ("7", "nicolas", "12", b"RIFF7_nicolas_12.wav"),
    ]
    assert [(Path(one.file).name, one.code) for one in bad] == [("notes.wav", "E_VALUE")]


@pytest.mark.parametrize("gz", [False, True])
def test_mnist(tmp_path, gz):
    random = np.random.default_rng(0)
    folder = tmp_path / "MNIST"
    folder.mkdir()
    images = random.integers(0, 256, (6, 28, 28)).astype(np.uint8)
    for start, rows in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        for name, body in (("images-idx3", images[rows]), ("labels-idx1", np.arange(6, dtype=np.uint8)[rows])):
            data = idx(body)
            (folder / f"{start}-{name}-ubyte{'.gz' if gz else ''}").write_bytes(gzip.compress(data) if gz else data)
    rows, _ = read(MnistSource(uri=str(folder)), tmp_path)
    assert [(one["split"], one["label"]) for one in rows] == [("train", str(n)) for n in range(4)] + [
        ("test", "4"),
        ("test", "5"),
    ]
    assert all((np.asarray(Image.open(io.BytesIO(one["image"]))) == images[n]).all() for n, one in enumerate(rows))
    (path,) = folder.glob("train-images*")
    path.write_bytes(idx(images)[:500])
    with pytest.raises(DataError, match="E_FORMAT train-images.*: the file is not what its name says"):
        read(MnistSource(uri=str(folder)), tmp_path)


def write_cifar(folder, version, images, labels):
    flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    for name, rows in (("data_batch_1", slice(0, 2)), ("data_batch_2", slice(2, 4)), ("test_batch", slice(4, 6))):
        if version == "python":
            batch = {b"data": flat[rows], b"labels": labels[rows].tolist(), b"filenames": [b"x"] * 2}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
        else:
            body = b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels[rows], flat[rows], strict=True))
            (folder / f"{name}.bin").write_bytes(body)
    if version == "python":
        (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}, protocol=2))
    else:
        (folder / "batches.meta.txt").write_text("cat\ndog\n\n")


@pytest.mark.parametrize("form", ["folder", "tar.gz"])
@pytest.mark.parametrize("version", ["python", "binary"])
def test_cifar_10(tmp_path, version, form):
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    labels = np.array([0, 1, 1, 0, 1, 0], np.uint8)
    folder = tmp_path / "cifar-10-batches"
    folder.mkdir()
    write_cifar(folder, version, images, labels)
    rows, _ = read(CifarSource(uri=str(packed(folder, form))), tmp_path)
    assert [one["split"] for one in rows] == ["train"] * 4 + ["test"] * 2
    assert [one["label"] for one in rows] == [["cat", "dog"][one] for one in labels]
    assert all((np.asarray(Image.open(io.BytesIO(one["image"]))) == images[n]).all() for n, one in enumerate(rows))


@pytest.mark.parametrize("version", ["python", "binary"])
@pytest.mark.parametrize("names", ["fine", "coarse"])
def test_cifar_100(tmp_path, version, names):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    flat = images.transpose(0, 3, 1, 2).reshape(3, -1)
    fine, coarse = [2, 0, 1], [1, 0, 1]
    if version == "python":
        for name in ("train", "test"):
            (tmp_path / name).write_bytes(
                pickle.dumps({b"data": flat, b"fine_labels": fine, b"coarse_labels": coarse}, protocol=2)
            )
        meta = {b"fine_label_names": [b"a", b"b", b"c"], b"coarse_label_names": [b"x", b"y"]}
        (tmp_path / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    else:
        for name in ("train", "test"):
            body = b"".join(
                bytes([big, small]) + row.tobytes() for big, small, row in zip(coarse, fine, flat, strict=True)
            )
            (tmp_path / f"{name}.bin").write_bytes(body)
        (tmp_path / "fine_label_names.txt").write_text("a\nb\nc\n")
        (tmp_path / "coarse_label_names.txt").write_text("x\ny\n")
    rows, _ = read(CifarSource(uri=str(tmp_path), labels=names), tmp_path)
    assert [one["label"] for one in rows[:3]] == (["c", "a", "b"] if names == "fine" else ["y", "x", "y"])


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sentinel",)


def test_a_pickle_that_would_run_something_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "data_batch_1").write_bytes(pickle.dumps({b"data": Trap(), b"labels": []}, protocol=2))
    with pytest.raises(DataError, match="E_FORMAT data_batch_1: .*it names (os|posix).mkdir, which pixels do not need"):
        read(CifarSource(uri=str(tmp_path / "data")), tmp_path)
    assert not (tmp_path / "sentinel").exists()


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "linnerud"])
def test_what_scikit_learn_ships(tmp_path, name):
    from sklearn import datasets

    rows, _ = read(SklearnSource(name=name), tmp_path)
    wanted = getattr(datasets, f"load_{name}")()
    assert len(rows) == len(wanted.data)
    assert list(rows[7].values())[: wanted.data.shape[1]] == wanted.data[7].tolist()
    if name in {"iris", "wine", "breast_cancer"}:
        assert rows[7]["target"] == wanted.target_names[wanted.target[7]]


@pytest.mark.parametrize("shape", ["regression", "classification", "blobs", "sine"])
def test_made_up_rows_are_the_same_however_many_there_are(tmp_path, shape):
    def made(rows, **more):
        return read(GeneratedSource(shape=shape, rows=rows, columns_count=5, rows_per_partition=100, **more), tmp_path)[
            0
        ]

    few, many = made(150), made(1000)
    assert [row | {"file": ""} for row in many[:150]] == [row | {"file": ""} for row in few]
    assert made(150, seed=1) != few
    assert len({row["file"] for row in many}) == 10
    if shape == "classification":
        counts = [sum(row["y"] == name for row in many) for name in ("class_0", "class_1")]
        assert min(counts) > 350
    if shape == "regression":
        x, y = np.array([[row[f"x{one}"] for one in range(5)] for row in many]), np.array([row["y"] for row in many])
        left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        assert 0.05 < left.std() < 0.2, "what is left is the noise"
    if shape == "sine":
        assert np.abs([row["series"] for row in many]).max() < 2
        assert len(many[0]["series"]) == 5
    if shape == "regression":
        gaps = made(1000, missing=0.25)
        share = np.mean([row[f"x{one}"] is None for row in gaps for one in range(5)])
        assert 0.2 < share < 0.3

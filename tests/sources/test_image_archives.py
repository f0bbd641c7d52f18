"""Images out of archives."""

import shutil
from pathlib import Path

import pytest

from components.adapters.store import digest_file
from components.contracts.errors import DataError
from components.sources.image_folder import ImageFolderSource
from tests.sources.conftest import png


@pytest.mark.parametrize("form", ["folder", "tar", "tgz", "zip"])
def test_images_are_the_same_from_a_folder_and_from_archives(places, tmp_path, form):
    tree = tmp_path / "given"
    for split in ("train", "test"):
        shutil.copytree(places["image-folder"], tree / split)
    (tree / "test" / "dog" / "notes.txt").write_text("no image")
    place = tree
    if form != "folder":
        kind = {"tar": "tar", "tgz": "gztar", "zip": "zip"}[form]
        place = Path(shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path, "given"))
    source = ImageFolderSource(uri=str(place), pattern="*/*.png", train="train", test="test", files_per_partition=2)
    scratch = tmp_path / "scratch"
    pieces = source.partitions(digest_file, scratch)
    read = [(piece.split, source.read(piece)) for piece in pieces]
    found = sorted((split, label) for split, rows in read for label in rows.table["label"].to_pylist())
    assert found == sorted((split, label) for split in ("train", "test") for label in ("cat", "dog") for _ in range(3))
    images = {
        name: image
        for split, rows in read
        if split == "test"
        for name, image in zip(rows.files.to_pylist(), rows.table["image"].to_pylist(), strict=True)
    }
    (first,) = [image for name, image in images.items() if name.endswith("test/dog/0.png")]
    assert first == (tree / "test" / "dog" / "0.png").read_bytes()
    shutil.rmtree(scratch, ignore_errors=True)
    assert [source.read(piece).table for piece in pieces] == [rows.table for _, rows in read], "on another machine"


def test_what_other_systems_put_into_archives_is_no_image(places, tmp_path):
    tree = tmp_path / "given" / "flowers"
    shutil.copytree(places["image-folder"], tree)
    for name in ("cat/._0.png", ".git/x.png", "README.md"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("x")
    (tmp_path / "given" / "__MACOSX" / "flowers" / "cat").mkdir(parents=True)
    (tmp_path / "given" / "__MACOSX" / "flowers" / "cat" / "._0.png").write_text("x")
    place = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "given")
    pieces = ImageFolderSource(uri=place).partitions(digest_file, tmp_path)
    assert sum(len(piece.argument[2]) for piece in pieces) == 6


def test_given_parts_in_an_archive_are_not_mixed_by_a_pattern_that_leaves_them_out(places, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(places["image-folder"], tmp_path / "given" / split)
    place = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "given")
    with pytest.raises(DataError, match="E_SOURCE_EMPTY"):
        ImageFolderSource(uri=place).partitions(digest_file, tmp_path)


@pytest.mark.parametrize("form", ["bz2", "zip"])
def test_a_damaged_archive_is_one_line(places, tmp_path, form):
    place = Path(shutil.make_archive(str(tmp_path / "p"), {"bz2": "bztar", "zip": "zip"}[form], places["image-folder"]))
    data = bytearray(place.read_bytes())
    data[60:90] = bytes(30)
    place.write_bytes(data)
    with pytest.raises(DataError, match="E_FORMAT source.uri: "):
        ImageFolderSource(uri=str(place)).partitions(digest_file, tmp_path)


def test_a_changed_image_in_an_archive_touches_one_piece(places, tmp_path):
    def pieces():
        place = shutil.make_archive(str(tmp_path / "packed"), "gztar", places["image-folder"])
        source = ImageFolderSource(uri=place, files_per_partition=2)
        return [piece.version for piece in source.partitions(digest_file, tmp_path / "scratch")]

    before = pieces()
    (places["image-folder"] / "cat" / "0.png").write_bytes(png(9))
    assert sum(one != other for one, other in zip(before, pieces(), strict=True)) == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"train": "trian", "test": "test"}, "E_SOURCE_EMPTY source.train: no file in .* matches"),
        ({"pattern": "*/*.jpg"}, "E_SOURCE_EMPTY source.pattern: no file"),
    ],
)
def test_a_part_that_is_not_there_is_one_line(places, tmp_path, settings, expected):
    source = ImageFolderSource(uri=str(places["image-folder"]), **settings)
    with pytest.raises(DataError, match=expected):
        source.partitions(digest_file, tmp_path)


def test_a_file_that_is_no_archive_is_one_line(tmp_path):
    (tmp_path / "x.tar").write_text("no archive")
    with pytest.raises(DataError, match="E_FORMAT source.uri: neither a folder nor an archive"):
        ImageFolderSource(uri=str(tmp_path / "x.tar")).version(digest_file)

"""What is wrong with the places that a person names: nothing there, no files, links, names that are no text."""

import os
import socket
from pathlib import Path

import pytest

from components.adapters.store import digest_file
from components.contracts.errors import DataError
from components.sources.files import FilesSource
from components.sources.image_folder import ImageFolderSource


def source_of(kind, place):
    return (FilesSource if kind == "files" else ImageFolderSource)(uri=str(place))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("uri", "files", "expected"),
    [
        ("fiels", "*.csv", r"E_SOURCE_EMPTY source.uri: nothing is there; nearest: .*files"),
        (
            "files",
            "*.cvs",
            r"E_SOURCE_EMPTY source.files: no file in .*files matches; nearest: '[ab].csv' .got '\*.cvs'",
        ),
    ],
)
def test_bad_input_B33_nothing_matches(places, uri, files, expected):
    source = FilesSource(uri=str(places["files"].parent / uri), files=files)
    with pytest.raises(DataError, match=expected):
        source.partitions(digest_file, places["files"])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "kind", ["pipe", "socket", "link", "link for a class", "pipe in a table folder", "link in a table folder"]
)
def test_bad_input_B36_not_a_regular_file(places, kind):
    """Refused before it is opened: opening a pipe would hang."""
    path = places["image-folder"] / "cat" / "odd.png"
    if "table" in kind:
        path = places["files"] / "odd.csv"
    elif "class" in kind:
        path = places["image-folder"] / "odd"
    if "pipe" in kind:
        os.mkfifo(path)
    elif "link" in kind:
        path.symlink_to(path.parent / "nowhere.png")
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
        os.chdir(here)
    used = "files" if "table" in kind else "image-folder"
    source = source_of(used, places[used])
    with pytest.raises(DataError, match=f"E_NOT_REGULAR_FILE source.uri: .*{path.name}"):
        source.version(digest_file)


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["files", "image-folder"])
def test_bad_input_B36_a_folder_that_cannot_be_listed_is_not_passed_over(places, kind, as_nobody):
    folder = places[kind] / "hidden" if kind == "files" else places[kind] / "cat"
    folder.mkdir(exist_ok=True)
    folder.chmod(0)
    said = as_nobody(lambda: source_of(kind, places[kind]).version(digest_file))
    assert said.startswith("E_PERMISSION source.uri: this user may not read it"), said
    assert folder.name in said


@pytest.mark.parametrize("kind", ["files", "image-folder"])
def test_folders_that_are_links_are_read_once(places, kind, tmp_path):
    whole = source_of(kind, places[kind])
    expected = [whole.read(one).table for one in whole.partitions(digest_file, tmp_path)]
    away = tmp_path / "away"
    inner = next((path for path in sorted(places[kind].iterdir()) if path.is_dir()), None)
    if inner is None:
        inner = places[kind] / "inner"
        inner.mkdir()
        for path in places[kind].glob("*.*"):
            path.rename(inner / path.name)
    inner.rename(away)
    inner.symlink_to(away)
    if kind == "files":
        (away / "round").symlink_to(places[kind])
        (away / "up").symlink_to(places[kind].parent)
        for number in range(9):
            (away / f"beside-{number}").mkdir()
            for other in range(9):
                (away / f"beside-{number}" / f"to-{other}").symlink_to(away / f"beside-{other}")
    found = [whole.read(one).table for one in whole.partitions(digest_file, tmp_path)]
    assert found == expected


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("kind", ["files", "image-folder"])
def test_a_name_that_is_not_utf8_is_one_line(places, kind, what):
    path = next(path for path in sorted(places[kind].rglob("*")) if path.is_file())
    if what == "folder":
        (places[kind] / os.fsdecode(b"caf\xe9")).mkdir()
        path.rename(places[kind] / os.fsdecode(b"caf\xe9") / path.name)
    else:
        path.rename(os.fsdecode(os.fsencode(path.parent) + b"/caf\xe9" + os.fsencode(path.suffix)))
    with pytest.raises(DataError, match=r"E_ENCODING .*caf\\xe9.*: a name that is not UTF-8; allowed: UTF-8"):
        source_of(kind, places[kind]).version(digest_file)


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["files", "image-folder"])
def test_bad_input_B36_unreadable(places, kind, as_nobody):
    path = next(path for path in sorted(places[kind].rglob("*")) if path.is_file())
    path.chmod(0)
    said = as_nobody(lambda: source_of(kind, places[kind]).version(digest_file))
    assert said.startswith("E_PERMISSION source.uri: this user may not read it"), said
    assert path.name in said
    assert "chmod u+r" in said


def test_an_empty_file_is_one_line(places):
    (places["image-folder"] / "cat" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="E_FILE_EMPTY source.uri: the file has no bytes .*0.png"):
        ImageFolderSource(uri=str(places["image-folder"])).version(digest_file)

"""A set of media as a folder or an archive, and all that a source reads of it."""

import tarfile
import zipfile

from components.adapters.store import digest_file

FORMS = ["folder", "tar.gz", "zip"]


def packed(folder, form):
    """The folder as it is, or as an archive beside it."""
    if form == "folder":
        return folder
    target = folder.with_name(f"{folder.name}.{form}")
    if form == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(folder.parent))
    else:
        with tarfile.open(target, "w:gz") as archive:
            archive.add(folder, folder.name)
    return target


def read(source, tmp_path):
    """All rows with their given part, and what was set aside."""
    rows, bad = [], []
    assert source.version(digest_file)
    for piece in source.partitions(digest_file, tmp_path / "scratch"):
        found = source.read(piece)
        assert len(found.numbers) == found.table.num_rows
        names = found.files.to_pylist() if found.files is not None else [piece.place] * found.table.num_rows
        rows += [
            {**row, "split": piece.split, "file": name}
            for row, name in zip(found.table.to_pylist(), names, strict=True)
        ]
        bad += found.bad
    return rows, bad

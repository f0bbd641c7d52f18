"""The cases of test_bad_files.py that are archives: B23 and B24."""

import io
import tarfile
import warnings
import zipfile

LINK, HARD_LINK, DEVICE = (kind.decode() for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE))


def zipped(*members):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members:
            with warnings.catch_warnings():
                # Two members of one name are what some cases are about.
                warnings.simplefilter("ignore", UserWarning)
                archive.writestr(name, body)
    return sink.getvalue()


def tarred(*members, mode="w:gz"):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:
        for name, body in members:
            info = tarfile.TarInfo(name)
            if isinstance(body, bytes):
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
            else:
                info.type, info.linkname = body.encode(), "/etc/passwd"
                archive.addfile(info)
    return sink.getvalue()


def linked(name, target):
    """A zip archive with a symbolic link, as Info-ZIP writes it."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, target)
    return sink.getvalue()


ARCHIVES = {
    "B23-zip-bomb": (zipped(("a.csv", bytes(80 * 2**20))), "E_ARCHIVE_BOMB .*: it unpacks to more than 100 times"),
    "B23-tar-bomb": (tarred(("a.csv", bytes(80 * 2**20))), "E_ARCHIVE_BOMB .*: it unpacks to more than 100 times"),
    "B24-zip-parent": (zipped(("../a.csv", "n\n1\n")), r"E_ARCHIVE_PATH .*leads out of it \(got '\.\./a\.csv'\)"),
    "B24-zip-absolute": (zipped(("/a.csv", "n\n1\n")), "E_ARCHIVE_PATH .*leads out of it"),
    "B24-zip-backslash": (zipped(("..\\a.csv", "n\n1\n")), "E_ARCHIVE_PATH .*leads out of it"),
    "B24-tar-parent": (tarred(("x/../../a.csv", b"n\n1\n")), "E_ARCHIVE_PATH .*leads out of it"),
    "B24-tar-absolute": (tarred(("/a.csv", b"n\n1\n"), mode="w"), "E_ARCHIVE_PATH .*leads out of it"),
    "B24-tar-link": (tarred(("good.csv", b"n\n1\n"), ("a.csv", LINK)), "E_ARCHIVE_PATH .*a link or a device"),
    "B24-tar-hard-link": (tarred(("a.csv", HARD_LINK)), "E_ARCHIVE_PATH .*a link or a device"),
    "B24-zip-link": (linked("a.csv", "/etc/passwd"), "E_ARCHIVE_PATH .*a link or a device"),
    "B24-zip-one-name-twice": (zipped(("a.csv", "n\n1\n"), ("a.csv", "n\n2\n")), "E_FORMAT .*two files of one name"),
    "B24-tar-one-name-twice": (tarred(("a.csv", b"n\n1\n"), ("a.csv", b"n\n2\n")), "E_FORMAT .*two files of one name"),
    "B24-tar-device": (tarred(("a.csv", DEVICE), mode="w"), "E_ARCHIVE_PATH .*a link or a device"),
}

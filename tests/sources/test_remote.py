"""Files in a bucket and behind an address, by a real S3 server and a real HTTP server, also when these misbehave."""

import functools
import gzip
import http.server
import io
import tarfile
import threading
import zipfile

import pytest

from components.contracts.errors import MillraceError
from tests.sources.remote import CSV, ROWS, read

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize(("below", "times"), [("", 2), ("/a.csv", 1), ("/*.csv", 1), ("/deep/*", 1)])
def test_a_bucket_is_read_as_a_folder_is(bucket, ctx, below, times):
    _, _, place = bucket
    raw, rows = read(place + below, ctx, partition_mb=0.05)
    assert rows == ROWS * times
    assert len(raw.parts) > times


def test_what_did_not_change_is_not_fetched_again(bucket, ctx, s3):
    client, name, place = bucket
    first, _ = read(place, ctx)
    ctx.outcomes.clear()
    with s3.ruled(None) as door:
        read(place, ctx)
        assert [one for one in door.log if one[0] == "GET" and one[1].endswith(("csv", "gz"))] == []
    assert [one.reused for one in ctx.outcomes] == [True]
    client.put_object(Bucket=name, Key="store/data/a.csv", Body=(CSV + "20000,x\n").encode())
    second, rows = read(place, ctx)
    assert len(rows) == 40_001
    assert len({part.key for part in second.parts} - {part.key for part in first.parts}) == 1


def test_a_bucket_and_a_folder_give_the_same_result(bucket, ctx, tmp_path):
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "a.csv").write_text(CSV)
    (tmp_path / "data" / "deep" / "b.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    there, _ = read(bucket[2], ctx)
    here, _ = read(str(tmp_path / "data"), ctx)
    assert here.content == there.content


@pytest.fixture
def web(tmp_path):
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "a.csv").write_text(CSV)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_address_is_read(web, ctx):
    assert read(f"{web}/a.csv", ctx)[1] == ROWS


def packed(form):
    """An archive with two tables and a note, as bytes."""
    body = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(body, "w") as archive:
            for name in ("t/a.csv", "t/b.csv", "note.txt"):
                archive.writestr(name, CSV)
    else:
        with tarfile.open(fileobj=body, mode="w:gz") as archive:
            for name in ("t/a.csv", "t/b.csv", "note.txt"):
                info = tarfile.TarInfo(name)
                info.size = len(CSV)
                archive.addfile(info, io.BytesIO(CSV.encode()))
    return body.getvalue()


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_an_archive_elsewhere_is_read_as_one_here(bucket, web, ctx, tmp_path, form):
    client, name, place = bucket
    client.put_object(Bucket=name, Key=f"store/data/all.{form}", Body=packed(form))
    (tmp_path / "web" / f"all.{form}").write_bytes(packed(form))
    here, rows = read(str(tmp_path / "web" / f"all.{form}"), ctx, train="a.csv", test="b.csv", partition_mb=0.05)
    assert rows == ROWS * 2
    for uri in (f"{place}/all.{form}", f"{web}/all.{form}"):
        there, _ = read(uri, ctx, train="a.csv", test="b.csv", partition_mb=0.05)
        assert [part.digest for part in there.parts] == [part.digest for part in here.parts]
        assert len(there.parts) > 2
        with pytest.raises(MillraceError, match=f"E_SOURCE_EMPTY source.files: no file in all.{form} matches"):
            read(uri, ctx, files="*.parquet")
        assert read(uri, ctx, files="t/*")[1] == rows


@pytest.mark.bad_input
def test_bad_input_B22_a_short_packed_file_that_is_cut_off(web, ctx, tmp_path):
    cut = gzip.compress(b"n,c\n1,x\n")[:20]
    (tmp_path / "web" / "a.csv.gz").write_bytes(cut)
    for uri in (f"{web}/a.csv.gz", str(tmp_path / "web" / "a.csv.gz")):
        with pytest.raises(
            MillraceError, match=r"E_FILE_TRUNCATED .*: the compressed file ends too early, at 20 bytes"
        ):
            read(uri, ctx)


@pytest.mark.bad_input
def test_bad_input_addresses(web, bucket, ctx):
    for uri, expected in (
        (f"{web}/b.csv", "E_SOURCE_EMPTY source.uri: nothing is there"),
        ("http://127.0.0.1:9/a.csv", "E_SERVER_UNREACHABLE source.uri: the server does not give it"),
        (bucket[2] + "/nothing", "E_SOURCE_EMPTY source.uri: nothing is there"),
        (
            "gs://bucket/a.csv",
            "E_EXTRA_MISSING source.uri: gs:// needs gcsfs, which is not installed; install it: pip install -e '.[gs]'",
        ),
        ("abfs://c@a/a.csv", "E_EXTRA_MISSING source.uri: abfs:// needs adlfs"),
        ("nosuch://x/y", "E_FORMAT source.uri: addresses of this kind are not known"),
    ):
        with pytest.raises(MillraceError) as caught:
            read(uri, ctx)
        assert caught.value.line().startswith(expected), caught.value.line()

"""What a user gets wrong at the command, and what the machine does: one line, the right exit code, nothing lost."""

import http.server
import json
import os
import socket
import subprocess
import threading
from contextlib import contextmanager

import pytest

from tests.line import write_images


class Fake(http.server.BaseHTTPRequestHandler):
    """Answers like a server of another release, and remembers that it was asked."""

    asked: list

    def do_GET(self):
        self.asked.append(self.path)
        body = {"/api/health": b"true", "/api/admin/version": b'"2.0.0"', "/version": b"1.0.0"}.get(self.path, b"{}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


@contextmanager
def fake_server():
    handler = type("Asked", (Fake,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler.asked
        server.shutdown()


@contextmanager
def taken_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


@contextmanager
def read_only_folder(folder):
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", folder], check=False).returncode:
        pytest.skip("a read-only folder can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def one_line(process, code):
    """The single error line of a command that failed."""
    lines = [line for line in process.err.splitlines() if line.startswith("E_")]
    assert len(lines) == 1, process.err
    assert process.returncode == code
    assert process.out == ""
    return lines[0]


@pytest.mark.bad_input
def test_bad_input_B33_a_folder_that_is_not_there(millrace, tmp_path):
    write_images(tmp_path / "images", 2)
    source = f"source={{kind: image-folder, uri: {tmp_path}/imagse}}"
    line = one_line(millrace("run", "digits-cnn", "--set", source), 2)
    assert line.startswith("E_SOURCE_EMPTY source.uri: nothing is there; nearest: ")
    assert f"{tmp_path}/images (got" in line


@pytest.mark.bad_input
def test_bad_input_B36_a_pipe_does_not_hang(millrace, tmp_path):
    os.mkfifo(tmp_path / "adult.data")
    line = one_line(millrace("run", "adult-mlp", "--set", f"source.uri={tmp_path}/adult.data"), 2)
    assert line.startswith("E_NOT_REGULAR_FILE source.uri: a pipe where a file is needed")


@pytest.mark.bad_input
def test_bad_input_B49_a_read_only_home(millrace, tmp_path):
    with read_only_folder(tmp_path / "disk") as folder:
        line = one_line(millrace("run", "digits-cnn", MILLRACE_HOME=str(folder / "home")), 1)
    assert line.startswith(f"E_PERMISSION {folder}/home")
    assert "read-only" in line


@pytest.mark.e2e
@pytest.mark.bad_input
def test_bad_input_B49_a_disk_that_fills_up(millrace, tmp_path, first):
    """The store is on a disk of its own, too small for the run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=False).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        line = one_line(millrace("run", "digits-cnn", MILLRACE_STORE=str(disk / "store")), 1)
        assert line.startswith(f"E_DISK_FULL {disk}/store")
        assert not list(disk.rglob("record.json"))
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.bad_input
def test_bad_input_B50_a_port_that_is_taken(millrace, tmp_path):
    with taken_port() as port:
        line = one_line(
            millrace("run", "digits-cnn", MILLRACE_PREFECT_PORT=str(port), MILLRACE_HOME=str(tmp_path / "home")), 1
        )
    assert line.startswith(f"E_PORT_TAKEN MILLRACE_PREFECT_PORT: something else listens there (got {port})")


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["MILLRACE_PREFECT_API_URL", "MILLRACE_TRACKING_URI"])
def test_bad_input_B50_a_server_that_does_not_answer(millrace, name):
    line = one_line(millrace("run", "digits-cnn", **{name: "http://127.0.0.1:9/api"}), 1)
    assert line.startswith(f"E_SERVER_UNREACHABLE {name}: no ")
    assert "http://127.0.0.1:9/api" in line


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "product"), [("MILLRACE_PREFECT_API_URL", "Prefect 2.0.0"), ("MILLRACE_TRACKING_URI", "MLflow 1.0.0")]
)
def test_bad_input_B50_a_server_of_another_release(millrace, name, product):
    with fake_server() as (address, _):
        line = one_line(millrace("run", "digits-cnn", **{name: address}), 1)
    assert line.startswith(f"E_SERVER_VERSION {address}: the server is {product}, this environment has ")


@pytest.mark.e2e
@pytest.mark.bad_input
def test_bad_input_B51_an_extra_that_is_missing(millrace, tmp_path):
    """The library is hidden behind a folder that comes first on the path."""
    (tmp_path / "simplejpeg.py").write_text("raise ImportError('hidden')\n")
    line = one_line(
        millrace("run", "digits-cnn", "--set", "features.0.decoder=simplejpeg", PYTHONPATH=str(tmp_path)), 1
    )
    assert line.startswith("E_EXTRA_MISSING features.image.decoder: simplejpeg is not installed")
    assert line.endswith("install it: pip install -e '.[vision]'")


@pytest.mark.bad_input
def test_bad_input_B52_a_gpu_that_is_not_there(millrace, tmp_path):
    """Refused before data are read: the store stays empty."""
    home = tmp_path / "home"
    line = one_line(
        millrace("run", "digits-cnn", "--set", "train.accelerator=gpu", MILLRACE_HOME=str(home), PATH="/nowhere"), 1
    )
    assert line.startswith(
        "E_DEVICE train.accelerator: asked for 1 GPU, there is no GPU that the installed torch may use (got 'gpu')"
    )
    assert not (home / "store").exists()


@pytest.mark.e2e
@pytest.mark.bad_input
def test_bad_input_non_image_too_many_non_images_end_a_run_in_one_line(millrace, tmp_path):
    folder = write_images(tmp_path / "images", 30)
    for number in range(5):
        (folder / "dark" / f"{number:03}.png").write_text("no image")
    line = one_line(
        millrace("run", "digits-cnn", "--set", f"source={{kind: image-folder, uri: {folder}}}", "--set", "checks={}"), 2
    )
    assert line.startswith("E_QUARANTINE_LIMIT checks: 5 of 60 rows are bad; the first is E_IMAGE dark/000.png:1")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["digits"], "E_CONFIG recipe: there is no such recipe or file; nearest: digits-"),
        (
            ["digits-cnn", "--set", "train.epochs=3"],
            "E_CONFIG train.epochs: there is no such key; nearest: max_epochs (got 3)",
        ),
        (["digits-cnn", "--set", "model.kind=ccn"], "E_CONFIG model.kind: there is no kind of that name; nearest: cnn"),
        (["digits-cnn", "--set", "train"], "E_CONFIG --set train: an override is key.path=value"),
        (["digits-cnn", "--rerun", "trian"], "E_CONFIG --rerun: there is no such step; nearest: train (got 'trian')"),
    ],
)
def test_a_wrong_command_is_one_line_and_starts_nothing(millrace, tmp_path, arguments, expected):
    home = tmp_path / "home"
    assert one_line(millrace("run", *arguments, MILLRACE_HOME=str(home)), 2).startswith(expected)
    assert not home.exists()


def test_a_wrong_setting_is_one_line(millrace):
    line = one_line(millrace("run", "digits-cnn", MILLRACE_PORT="4200"), 2)
    assert line.startswith("E_CONFIG MILLRACE_PORT: there is no such setting")
    line = one_line(millrace("run", "digits-cnn", MILLRACE_PREFECT_PORT="many"), 2)
    assert line.startswith("E_CONFIG MILLRACE_PREFECT_PORT: ")


def test_servers_that_the_user_has_for_other_work_are_never_asked(millrace, tmp_path, first):
    """The trap: addresses, a profile and a dotenv file that lead elsewhere."""
    with fake_server() as (address, asked):
        home = tmp_path / "user"
        (home / ".prefect").mkdir(parents=True)
        profile = f'active = "work"\n[profiles.work]\nPREFECT_API_URL = "{address}/api"\nPREFECT_API_KEY = "secret"\n'
        (home / ".prefect" / "profiles.toml").write_text(profile)
        (millrace.folder / ".env").write_text(f"PREFECT_API_URL={address}/api\nMLFLOW_TRACKING_URI={address}\n")
        (millrace.folder / "prefect.toml").write_text(f'[api]\nurl = "{address}/api"\n')
        try:
            record = millrace.run(
                "digits-cnn",
                HOME=str(home),
                PREFECT_API_URL=f"{address}/api",
                PREFECT_API_KEY="secret",
                MLFLOW_TRACKING_URI=address,
                MLFLOW_REGISTRY_URI=address,
                MLFLOW_RUN_ID="0" * 32,
                MLFLOW_EXPERIMENT_NAME="work",
            )
        finally:
            (millrace.folder / ".env").unlink()
            (millrace.folder / "prefect.toml").unlink()
        assert record["state"] == "Unchanged"
        assert asked == []
    assert json.dumps(record["mlflow_run"]) != json.dumps("0" * 32)

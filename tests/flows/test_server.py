"""The Prefect server that the first command starts: who reaches it, and how it is found again and ended."""

import json
import os
import subprocess
import sys

import httpx
import psutil
import pytest


def test_nothing_listens_beyond_loopback_and_foreign_pages_are_refused(millrace, first):
    said = json.loads((millrace.home / "servers" / "prefect.json").read_text())
    server = psutil.Process(said["process"])
    listening = [
        one.laddr.ip
        for process in (server, *server.children(recursive=True))
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}
    url = f"{said['address']}/api/flow_runs/filter"
    foreign = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    own = foreign | {"Origin": said["address"]}
    answers = [httpx.options(url, headers=foreign), httpx.options(url, headers=own)]
    answers.append(httpx.post(url, json={}, headers={"Origin": "http://evil.example"}))
    assert [one.status_code for one in answers] == [400, 200, 403]


@pytest.mark.e2e
def test_the_server_is_found_again_and_ended(millrace, first):
    process = json.loads((millrace.home / "servers" / "prefect.json").read_text())["process"]
    assert "ended the Prefect server at http://127.0.0.1:" in millrace("down").err
    assert not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    stale = {"process": os.getpid(), "created": 1.0, "address": "http://127.0.0.1:1"}
    (millrace.home / "servers" / "prefect.json").write_text(json.dumps(stale))
    assert "nothing was running" in millrace("down").err, "a number that another process has now is not ours"
    code = (
        "from flows import server, settings\nplacement = settings.read()\nfirst = server.ensure(placement)\n"
        "server.wait(placement, first)\nagain = server.ensure(placement)\n"
        "print(first.started, again.started, first.process == again.process)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=millrace.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False", "True"]

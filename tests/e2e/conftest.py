"""One home with its servers and worker up, for the tests that play a user of Prefect's pages."""

import json
import time

import psutil
import pytest

from flows.processes import MARK
from tests.flows.api import Api
from tests.flows.conftest import Millrace


@pytest.fixture(scope="session")
def millrace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    command = Millrace(home=folder / "home", folder=folder)
    yield command
    command("down")
    assert family(command) == []


@pytest.fixture(scope="session")
def address(millrace):
    for command in ("up", "deploy"):
        began = time.monotonic()
        done = millrace(command)
        assert done.returncode == 0, done.err
        print(f"{command}: {time.monotonic() - began:.1f} s")
    return json.loads(millrace("status", "--json").out)["services"][0]["address"]


@pytest.fixture(scope="session")
def api(address):
    return Api(address)


def family(millrace):
    """Every process that `up` started, directly or not."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").endswith(f":{millrace.home}"):
                found.append(process)
        except psutil.Error:
            continue
    return found

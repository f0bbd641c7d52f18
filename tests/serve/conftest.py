"""A server in a thread of the test's process, over a real store and registry."""

import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from components.adapters.compute import Compute
from components.context import open_context
from components.contracts.placement import Placement
from components.serve.app import create
from components.serve.hosting import Host
from components.serve.settings import ServeConfig
from components.train import TrainSettings
from tests.line import registered, table_recipe, write_table

QUIET = ServeConfig(lines=False, look_seconds=0.05)


def row(**cells):
    """A request of one row of the toy table."""
    return {"dataframe_records": [{"n": 1.5, "c": "a"} | cells]}


@contextmanager
def serving(hosts, config=QUIET, token=""):
    """A client of a server that runs while the block does."""
    server = uvicorn.Server(uvicorn.Config(create(hosts, config, token), log_config=None, timeout_graceful_shutdown=10))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            with httpx.Client(base_url=address, timeout=30) as client:
                while not server.started:
                    assert thread.is_alive()
                    time.sleep(0.01)
                yield client
        finally:
            server.should_exit = True
            thread.join()


class Line:
    """A registry in which the toy table's model has versions, each of another seed, the last one champion."""

    def __init__(self, home):
        self.home, self.rows = home, write_table(home / "table")
        self.ctx = self.context("line")

    def context(self, name):
        ctx = open_context(Placement(home=self.home / "home"), name)
        ctx.compute = Compute(workers=1, synchronous=True)
        return ctx

    def register(self, name, seed):
        settings = TrainSettings(max_epochs=1, seed=seed)
        return registered(table_recipe(self.rows, settings=settings), self.ctx, name)[2].version

    def host(self, name, alias="champion"):
        self.told = []
        return Host(self.context("serving"), name, alias, self.told.append)


@pytest.fixture(scope="session")
def line(tmp_path_factory):
    made = Line(tmp_path_factory.mktemp("serving"))
    made.register("toy", 1)
    return made


@pytest.fixture(scope="module")
def client(line):
    with serving([line.host("toy")]) as made:
        yield made

"""What tests share: a context on a fresh folder, and the tally of injected faults."""

import json
import os
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from components.adapters.compute import Compute
from components.context import open_context
from components.contracts.errors import MillraceError
from components.contracts.placement import Placement
from tests.s3 import Server

# A machine that is busy takes its time: what is too slow is a benchmark's business.
settings.register_profile("millrace", deadline=None)
settings.load_profile("millrace")

SKIPPED: list[str] = []
# Two workers on two cores: torch's threads of one would wait for those of the other (84 s for a training of 4).
os.environ.setdefault("OMP_NUM_THREADS", "1")
REPORTS = Path(__file__).parents[1] / ".reports"


def pytest_addoption(parser):
    parser.addoption(
        "--share", default="", metavar="N:TEXT", help="run one of N of the chosen tests, drawn by the text"
    )


def pytest_xdist_make_scheduler(config, log):
    """A file's tests stay on one worker, and so do all that use the Prefect server: one server a test run."""
    from xdist.scheduler import LoadScopeScheduling

    class ByServer(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return "server" if uses_server(Path(config.rootpath, file)) else file

    return ByServer(config, log)


@cache
def uses_server(path):
    """Whether a test file asks for the fixture that starts a Prefect server."""
    return re.search(r"def test_\w+\([^)]*\b(millrace|served)\b", path.read_text()) is not None


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config, items):
    """The longest chain comes first; with `--share` keep one of so many of what was chosen, drawn by the text."""
    items.sort(key=lambda item: not uses_server(item.path))
    done = yield
    every, _, text = config.getoption("--share").partition(":")
    if every:
        start = int.from_bytes(text.encode(), "big") % int(every)
        kept = items[start :: int(every)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    return done


def pytest_runtest_logreport(report):
    if report.skipped:
        SKIPPED.append(report.nodeid)


def pytest_sessionfinish(session):
    """In CI a row that is listed as proved may not skip."""
    rows = (Path(__file__).parent / "proved_rows.txt").read_text().split()
    unproved = [test for test in SKIPPED if any(row in test for row in rows)]
    if unproved and os.environ.get("CI"):
        print(f"\nproved rows that were skipped: {unproved}")
        session.exitstatus = 1


@dataclass
class Count:
    injected: int = 0
    hit: int = 0
    lost: int = 0

    def holds(self, check, *arguments):
        """Run an invariant; a failure counts as a loss and still fails the test at its end."""
        try:
            return check(*arguments)
        except AssertionError as error:
            self.lost += 1
            print(f"lost after fault {self.injected}: {error}")
            return None


@pytest.fixture(scope="session", autouse=True)
def own_tracking(tmp_path_factory):
    """MLflow's default is a database in the current folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/default.db")
        yield


@pytest.fixture
def tally():
    """Counts the faults of one row and fails where one did not hit or lost something."""

    @contextmanager
    def counting(row):
        count = Count()
        yield count
        line = {"id": row, "injected": count.injected, "hit": count.hit, "lost": count.lost}
        REPORTS.mkdir(exist_ok=True)
        with (REPORTS / "faults.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        assert count.injected > 0, line
        assert count.hit == count.injected, line
        assert count.lost == 0, line

    return counting


@pytest.fixture
def as_nobody(tmp_path):
    """Calls a function in a child without root's rights; the line of the MillraceError that it raised, or None."""

    def call(function):
        for folder in (tmp_path, *tmp_path.parents):
            if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
                folder.chmod(0o755)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            said = "no error"
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                function()
            except MillraceError as error:
                said = error.line()
            except BaseException as error:
                said = repr(error)
            os.write(writer, said.encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as file:
            said = file.read()
        os.waitpid(child, 0)
        return said

    return call


@pytest.fixture(scope="session")
def s3():
    """The S3 server of the test run; the environment names it."""
    server = Server()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
    server.stop()


@pytest.fixture
def placement(tmp_path):
    return Placement(home=tmp_path / "home")


@pytest.fixture(params=["folder", "bucket"])
def either(request, tmp_path):
    """A placement whose store is a folder, then one whose store is a bucket."""
    address = request.getfixturevalue("s3").bucket() if request.param == "bucket" else ""
    return Placement(home=tmp_path / "home", store=address)


@pytest.fixture
def ctx(placement):
    context = open_context(placement, "test")
    context.compute = Compute(workers=1, synchronous=True)
    return context


@pytest.fixture(scope="module")
def shared_ctx(tmp_path_factory):
    """One for a file of tests that only read what they made."""
    context = open_context(Placement(home=tmp_path_factory.mktemp("home")), "test")
    context.compute = Compute(workers=1, synchronous=True)
    return context

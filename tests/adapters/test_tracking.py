import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
from mlflow.store.db.utils import _get_latest_schema_revision

from components.adapters.mlflow_files import file_of, repository
from components.adapters.tracking import Tracker
from components.adapters.tracking_calls import may_pass
from components.adapters.tracking_schema import copy_of, upgrade
from components.contracts.closure import ROOT
from components.contracts.errors import EnvironmentFault
from components.contracts.placement import Placement


@pytest.fixture
def tracker(placement):
    return Tracker(placement)


def run_of(tracker):
    return tracker.client.get_run(tracker.run_id)


def test_a_run_holds_parameters_and_every_metric_in_order(tracker):
    tracker.start("r", {"a": 1}, {"t": "x"})
    for step in range(700):
        tracker.metrics({"loss": 1 / (step + 1)}, step)
    tracker.end("FINISHED")
    assert run_of(tracker).info.status == "FINISHED"
    assert run_of(tracker).data.params == {"a": "1"}
    history = tracker.client.get_metric_history(tracker.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(step, 1 / (step + 1)) for step in range(700)]


def test_without_a_run_metrics_go_nowhere(tracker):
    tracker.metrics({"loss": 1.0})
    tracker.end("FINISHED")


def test_only_runs_of_that_tag_are_ended(tracker):
    mine, other = (tracker.start("r", {}, {"k": value}) for value in "ab")
    tracker.end_tagged("k", "a", "KILLED")
    assert [tracker.client.get_run(one).info.status for one in (mine, other)] == ["KILLED", "RUNNING"]


def test_metrics_that_cannot_be_written_fail_the_run_aloud(tracker, monkeypatch):
    tracker.start("r", {}, {})
    monkeypatch.setattr(tracker.client, "log_batch", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full", "db")))
    tracker.metrics({"loss": 1.0})
    with pytest.raises(EnvironmentFault, match="E_DISK_FULL db: no space is left"):
        tracker.end("FINISHED")
    assert run_of(tracker).info.status == "FAILED"


@pytest.mark.parametrize(
    ("said", "code", "expected"),
    [
        ("Max retries exceeded (Caused by ConnectTimeoutError(...))", "INTERNAL_ERROR", True),
        ("Caused by NameResolutionError(failed to resolve)", "INTERNAL_ERROR", True),
        ("Caused by ResponseError('too many 429 error responses')", "INTERNAL_ERROR", True),
        ("(sqlite3.OperationalError) database is locked", "INTERNAL_ERROR", True),
        ("come again", "TEMPORARILY_UNAVAILABLE", True),
        ("Invalid value for metric", "INVALID_PARAMETER_VALUE", False),
        ("certificate verify failed", "INTERNAL_ERROR", False),
    ],
)
def test_which_faults_of_a_server_may_pass(said, code, expected):
    error = MlflowException(said)
    error.error_code = code
    assert may_pass(error) is expected


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    tracker = Tracker(Placement(home=tmp_path, tracking_uri=f"sqlite:///{tmp_path}/file/mlflow.db"))
    with pytest.raises(EnvironmentFault, match="E_TRACKING|E_IO|E_PERMISSION"):
        tracker.start("r", {}, {})


def test_what_is_absent_is_told_from_what_failed(tracker):
    tracker.create()
    assert tracker.find_version("none", "x") is None
    assert tracker.aliased("none", "champion") == ""
    with pytest.raises(LookupError):
        tracker.download("none", "1", tracker._placement.home)


def at_revision(placement, revision):
    """A database as an older release left it."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    placement.mlflow_artifacts.mkdir(parents=True)
    Base.metadata.create_all(create_engine(placement.tracking))
    command.upgrade(_get_alembic_config(placement.tracking), revision)


def opened(placement):
    """What a fresh process says of the database: MLflow keeps what it knows of one for as long as it lives."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom components.adapters.tracking import Tracker\n"
        "from components.contracts.errors import MillraceError\nfrom components.contracts.placement import Placement\n"
        "try:\n    print(Tracker(Placement(home=Path(sys.argv[1]))).create())\n"
        "except MillraceError as error:\n    print(error.line())\n"
    )
    command = [sys.executable, "-c", code, str(placement.home)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


@pytest.mark.e2e
def test_bad_input_B50_a_database_of_an_older_release_is_upgraded_and_a_copy_kept(placement):
    at_revision(placement, "acf3f17fdcc7")
    database = placement.home / "mlflow" / "mlflow.db"
    before = database.read_bytes()
    assert opened(placement) == "1"
    assert copy_of(database).read_bytes() == before
    assert revision(database) == revision(copy_of(database), other=True)
    copy_of(database).unlink()
    assert opened(placement) == "1"
    assert not copy_of(database).exists(), "the same release keeps no further copy"


def revision(database, *, other=False):
    """The schema's revision; with `other` the newest one, which the database must not have."""
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("select version_num from alembic_version").fetchone()[0]
    newest = _get_latest_schema_revision()
    assert (found != newest) is other
    return newest


@pytest.mark.e2e
def test_bad_input_B50_a_database_of_a_newer_release_is_named_and_stays_as_it_was(placement):
    opened(placement)
    database = placement.home / "mlflow" / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("update alembic_version set version_num = 'f00d00000000'")
        connection.commit()
    (placement.home / "mlflow" / "release").write_text("99.0")
    before = database.read_bytes()
    line = opened(placement)
    assert line.startswith(f"E_DATABASE {placement.tracking}: MLflow's database was made by another release")
    assert "millrace setup" in line
    with pytest.raises(EnvironmentFault, match="E_DATABASE"):
        upgrade(database, placement.tracking)
    assert database.read_bytes() == before


@pytest.mark.e2e
def test_an_upgrade_keeps_what_it_found_beside_copies_of_before(placement):
    at_revision(placement, "75868b020152")
    database = placement.home / "mlflow" / "mlflow.db"
    copy_of(database).write_bytes(b"of another day")
    before = database.read_bytes()
    assert upgrade(database, placement.tracking).read_bytes() == before
    assert revision(database)
    assert opened(placement) == "1"
    assert copy_of(database).read_bytes() == b"of another day"


def test_files_are_found_without_a_server_and_nowhere_else(placement, tmp_path):
    placement.mlflow_artifacts.mkdir(parents=True)
    database = f"sqlite:///{placement.home / 'mlflow' / 'mlflow.db'}"
    place = (placement.mlflow_artifacts / "a b" / "c").as_uri()
    assert file_of("mlflow-artifacts:/a%20b/c", database) == place
    assert file_of("mlflow-artifacts:/../../outside", database) == ""
    assert file_of("mlflow-artifacts:/a", f"sqlite:///{tmp_path / 'elsewhere.db'}") == ""
    assert file_of("mlflow-artifacts:/a", "http://127.0.0.1:5000") == ""
    assert file_of("mlflow-artifacts://host:80/a", database) == ""
    assert isinstance(repository("mlflow-artifacts:/a", database), LocalArtifactRepository)
    assert isinstance(repository("mlflow-artifacts:/a", "http://127.0.0.1:5000"), MlflowArtifactsRepository)

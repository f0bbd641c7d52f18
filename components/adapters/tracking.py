"""MLflow: one run for a pipeline run, and the model registry.

MLflow's own run lifecycle calls a run FINISHED when it crashed and RUNNING when it was killed; here a run is ended by
name with its true status, and one whose process is gone is ended by flows/reconcile.py. Metrics go through an outbox:
on SQLite one `log_metric` costs as much as sixty in a batch. Imports mlflow when first used.
"""

import fcntl
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.adapters.mlflow_files import file_of
from components.adapters.outbox import BATCH, Outbox, Point, left
from components.adapters.tracking_calls import ABSENT, OUTAGE_SECONDS, answered, answered_once, mapped, may_pass, quiet
from components.adapters.tracking_schema import same_release
from components.contracts.errors import EnvironmentFault
from components.contracts.placement import Placement

EXPERIMENT = "millrace"
LOCATION = f"mlflow-artifacts:/{EXPERIMENT}"
"""Where files go: a server passes them on, and without one mlflow_files.py finds them below the database's folder."""

PACKAGE_TAG, FINGERPRINT_TAG, VERIFIED_TAG = "millrace.package", "millrace.fingerprint", "millrace.verified"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Which of its two faces MLflow's pages show: training, not language-model traces."""

CHALLENGER, CHAMPION = "challenger", "champion"


class Tracker:
    """One tracking server. Without a run that was started, metrics go nowhere.

    Raises from every method:
        EnvironmentFault: E_TRACKING, E_DISK_FULL, E_PERMISSION.
    """

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._client: Any = None
        self._outbox: Outbox | None = None
        self.address = placement.tracking
        self.run_id = ""

    @property
    def client(self) -> Any:
        """The MlflowClient, bound to this placement whatever the process's environment says.

        The process-wide addresses are set as well, since MLflow resolves `models:/` through them.
        """
        if self._client is None:
            from mlflow import MlflowClient, set_registry_uri, set_tracking_uri

            address = self.address
            set_tracking_uri(address)
            set_registry_uri(address)
            self._client = MlflowClient(tracking_uri=address, registry_uri=address)
        return self._client

    @answered
    def create(self) -> str:
        """Make the database and the experiment where they are missing, one process at a time; the experiment's id."""
        if self._placement.tracking_uri:
            return self._experiment(None)
        if self._placement.mlflow_server:
            return self._experiment(LOCATION)
        self._placement.mlflow_artifacts.mkdir(parents=True, exist_ok=True)
        database = self._placement.mlflow_artifacts.with_name("mlflow.db")
        with database.with_name("create.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with same_release(database):
                return self._experiment(LOCATION)

    def _experiment(self, artifacts: str | None) -> str:
        with quiet():
            found = self.client.get_experiment_by_name(EXPERIMENT)
            if found is not None:
                return str(found.experiment_id)
            return str(self.client.create_experiment(EXPERIMENT, artifacts, tags=KIND))

    @answered_once
    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin a run; its id."""
        from mlflow.entities import Param

        run = self.client.create_run(self.create(), run_name=name, tags=dict(tags))
        self.run_id = str(run.info.run_id)
        entries = [Param(key, str(value)[:6000]) for key, value in params.items()]
        self.client.log_batch(self.run_id, params=entries)
        return self.run_id

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Note values of one step; they are written soon, and all of them before the run ends (outbox.py)."""
        if not self.run_id:
            return
        if self._outbox is None:
            self._outbox = Outbox(self._placement.home / "outbox", self.run_id, self._send, self._close, may_pass)
        now = int(time.time() * 1000)
        self._outbox.put([(key, float(value), now, step) for key, value in values.items()])

    def _send(self, run_id: str, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        self.client.log_batch(run_id, metrics=[Metric(*one) for one in points])

    @answered
    def send_left(self) -> list[str]:
        """Send what earlier processes could not, and end their runs as they said; the runs."""
        sent = []
        for run_id, points, status in left(self._placement.home / "outbox"):
            try:
                with suppress(LookupError), mapped(self.address):
                    for start in range(0, len(points), BATCH):
                        self._send(run_id, points[start : start + BATCH])
                    if status:
                        self._close(run_id, status)
            except EnvironmentFault as fault:
                if isinstance(fault.__cause__, Exception) and may_pass(fault.__cause__):
                    # They wait for a run after this one.
                    break
                # Nobody will take them: their run was deleted, for one.
                path = self._placement.home / "outbox" / f"{run_id}.jsonl"
                path.rename(path.with_suffix(".refused"))
                continue
            sent.append(run_id)
        return sent

    @answered
    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        for key, value in tags.items():
            self.client.set_tag(self.run_id, key, value)

    @answered
    def dataset(self, name: str, digest: str, source: Mapping[str, Any], rows: Mapping[str, int]) -> None:
        """Note what the run read: a name, a digest, where from and how many rows; never rows themselves."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entry = Dataset(
            name=name,
            digest=digest[:36],
            source_type="millrace",
            source=json.dumps(source),
            profile=json.dumps({"num_rows": sum(rows.values()), **rows}),
        )
        self.client.log_inputs(
            self.run_id, datasets=[DatasetInput(dataset=entry, tags=[InputTag("mlflow.data.context", "training")])]
        )

    @answered
    def text(self, name: str, body: str) -> None:
        """Add a file of the run that holds this text."""
        self.client.log_text(self.run_id, body, name)

    @answered
    def file(self, path: Path, folder: str = "") -> None:
        """Add a file to the run."""
        self.client.log_artifact(self.run_id, str(path), folder or None)

    def end(self, status: str) -> str:
        """End the run as FINISHED, FAILED or KILLED, after everything buffered is written; what is still to be sent.

        A run whose metrics MLflow refuses is FAILED, and says so. While it is away, its status waits with them.
        """
        outbox, self._outbox = self._outbox, None
        if not self.run_id:
            return ""
        try:
            with mapped(self.address):
                waits = outbox.close(OUTAGE_SECONDS) if outbox else 0
        except EnvironmentFault:
            self._terminated("FAILED")
            raise
        if outbox and waits and outbox.leave(status):
            return f"MLflow does not answer: {waits} or more points and the run's end wait in {outbox.path}"
        self._terminated(status)
        return ""

    def _close(self, run_id: str, status: str) -> None:
        self.client.set_terminated(run_id, status)

    @answered
    def _terminated(self, status: str) -> None:
        self.client.set_terminated(self.run_id, status)

    @answered
    def end_tagged(self, tag: str, value: str, status: str) -> None:
        """End every run that carries the tag and still counts as running."""
        found = self.client.search_runs([self.create()], f"tags.`{tag}` = '{value}' and attributes.status = 'RUNNING'")
        for run in found:
            self.client.set_terminated(run.info.run_id, status)

    @answered
    def artifact_link(self, path: str) -> str:
        """Where a person can open a file of the run: its page on a server, or the file itself."""
        info = self.client.get_run(self.run_id).info
        if self.address.startswith("http"):
            return f"{self.run_link()}/artifacts/{path}"
        return file_of(f"{info.artifact_uri}/{path}", self.address) or f"{info.artifact_uri}/{path}"

    @answered
    def run_link(self) -> str:
        """The run's page; empty without a server."""
        page = f"{self.address}/#/experiments/{self.create()}/runs/{self.run_id}"
        return page if self.address.startswith("http") else ""

    def model_link(self, name: str, version: int) -> str:
        """The page of a model's version; empty without a server."""
        return f"{self.address}/#/models/{name}/versions/{version}" if self.address.startswith("http") else ""

    @answered
    def find_version(self, name: str, package: str) -> Any:
        """The newest registered version that holds `package` (a content digest), or None."""
        found = self.client.search_model_versions(f"name = '{name}' and tags.`{PACKAGE_TAG}` = '{package}'")
        return max(found, key=lambda version: int(version.version), default=None)

    @answered
    def versions(self, name: str) -> set[str]:
        """The numbers of a model's versions that stand in the registry."""
        return {str(one.version) for one in self.client.search_model_versions(f"name = '{name}'")}

    @answered
    def version_tags(self, name: str, version: str) -> dict[str, str]:
        """What is noted of a version; nothing where there is no such one."""
        found = self.client.search_model_versions(f"name = '{name}'")
        return next((dict(one.tags) for one in found if str(one.version) == version), {})

    @answered_once
    def add_version(self, name: str, folder: Path, package: str, description: str) -> Any:
        """Upload an MLflow model folder as a logged model of the run and make a version of it, not yet verified."""
        from mlflow.entities import LoggedModelStatus
        from mlflow.exceptions import MlflowException

        with quiet():
            model = self.client.create_logged_model(
                experiment_id=self.create(), name=name, source_run_id=self.run_id or None, model_type="pyfunc"
            )
            self.client.log_model_artifacts(model.model_id, str(folder))
            self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        try:
            self.client.create_registered_model(name, tags={"millrace.recipe": name})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return self.client.create_model_version(
            name,
            source=f"models:/{model.model_id}",
            run_id=self.run_id or None,
            tags={PACKAGE_TAG: package},
            description=description,
            model_id=model.model_id,
        )

    @answered
    def download(self, name: str, version: str, folder: Path) -> Path:
        """The files of a version, fetched anew into `folder`; LookupError where they are gone."""
        from mlflow.artifacts import download_artifacts

        try:
            with quiet():
                return Path(
                    download_artifacts(
                        artifact_uri=f"models:/{name}/{version}",
                        dst_path=str(folder),
                        tracking_uri=self.address,
                        registry_uri=self.address,
                    )
                )
        except FileNotFoundError as error:
            raise LookupError(str(error)) from error

    @answered
    def verify(self, name: str, version: str, fingerprint: str) -> None:
        """Mark a version as checked, whose package has this fingerprint; set last, and no alias without it."""
        self.client.set_model_version_tag(name, version, FINGERPRINT_TAG, fingerprint)
        self.client.set_model_version_tag(name, version, VERIFIED_TAG, "true")

    @answered
    def alias(self, name: str, alias: str, version: str) -> bool:
        """Point `alias` at `version`; False where it did already."""
        if self.aliased(name, alias) == version:
            return False
        self.client.set_registered_model_alias(name, alias, version)
        return True

    @answered
    def aliased(self, name: str, alias: str) -> str:
        """The version behind an alias, or an empty text."""
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.get_model_version_by_alias(name, alias).version)
        except MlflowException as error:
            if error.error_code in ABSENT or "alias" in str(error):
                return ""
            raise

"""MLflow: the connection, and the model registry. Runs are in tracking.py, which adds them to this."""

import fcntl
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.adapters.tracking_calls import ABSENT, answered, answered_once, mapped, quiet
from components.adapters.tracking_schema import same_release
from components.contracts.placement import Placement

EXPERIMENT = "millrace"
LOCATION = f"mlflow-artifacts:/{EXPERIMENT}"
"""Where files go: a server passes them on, and without one mlflow_files.py finds them below the database's folder."""

PACKAGE_TAG, FINGERPRINT_TAG, VERIFIED_TAG = "millrace.package", "millrace.fingerprint", "millrace.verified"
CARD_TAG, CARD = "millrace.card", "card.md"
DESCRIPTION = 5000
"""Characters that MLflow's databases hold of a version's description."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Which of its two faces MLflow's pages show: training, not language-model traces."""

CHALLENGER, CHAMPION = "challenger", "champion"


@dataclass(frozen=True, kw_only=True)
class Noted:
    """What a version says of itself: a card in Markdown, `digest` of what it says but for where it comes from."""

    card: str
    digest: str
    description: str
    tags: Mapping[str, str]


class Registry:
    """One MLflow server or database. `run_id` is the run that versions are noted as made by; empty: none.

    Raises from every method:
        EnvironmentFault: E_TRACKING, E_DISK_FULL, E_PERMISSION.
    """

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._client: Any = None
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

    def model_link(self, name: str, version: int) -> str:
        """The page of a model's version; empty without a server."""
        return f"{self.address}/#/models/{name}/versions/{version}" if self.address.startswith("http") else ""

    @answered
    def find_version(self, name: str, package: str) -> Any:
        """The newest registered version that holds `package` (a content digest), or None."""
        found = self.client.search_model_versions(f"name = '{name}' and tags.`{PACKAGE_TAG}` = '{package}'")
        return max(found, key=lambda version: int(version.version), default=None)

    @answered
    def first_of(self, name: str, package: str, before: set[str]) -> Any:
        """The oldest version of `package` that came since there were those of `before`; later ones are taken back.

        Two runs that register one package at the same time both find the same one here.
        """
        found = self.client.search_model_versions(f"name = '{name}' and tags.`{PACKAGE_TAG}` = '{package}'")
        new = [one for one in found if str(one.version) not in before]
        first, *others = sorted(new, key=lambda one: int(one.version))
        for one in others:
            with suppress(LookupError), mapped(self.address):
                self.client.delete_model_version(name, str(one.version))
        return first

    @answered
    def versions(self, name: str) -> set[str]:
        """The numbers of a model's versions that stand in the registry."""
        return {str(one.version) for one in self.client.search_model_versions(f"name = '{name}'")}

    @answered
    def version_tags(self, name: str, version: str) -> dict[str, str]:
        """What is noted of a version; nothing where there is no such one."""
        found = self.client.search_model_versions(f"name = '{name}'")
        return next((dict(one.tags) for one in found if str(one.version) == version), {})

    def model_id(self, name: str, version: str) -> str:
        """The logged model behind a version; its database keeps only where the version's files come from."""
        return str(self.client.get_model_version(name, version).source).removeprefix("models:/")

    @answered
    def describe(self, name: str, version: str, noted: Noted) -> None:
        """Say of a version what is known; its card last, so that it has a `CARD_TAG` only when all is said."""
        client = self.client
        client.update_model_version(name, version, noted.description[:DESCRIPTION])
        for key, value in noted.tags.items():
            client.set_model_version_tag(name, version, key, value)
        with tempfile.TemporaryDirectory() as scratch, quiet():
            path = Path(scratch) / CARD
            path.write_text(noted.card, encoding="utf-8")
            client.log_model_artifact(self.model_id(name, version), str(path))
        client.set_model_version_tag(name, version, CARD_TAG, noted.digest)

    @answered_once
    def add_version(self, name: str, folder: Path, package: str) -> Any:
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

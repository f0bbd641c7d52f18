"""MLflow's `mlflow-artifacts:` addresses without a server.

The local profile keeps files where its MLflow server, if one runs, passes them on from: in `artifacts/` beside the
database. Clients of that server see `mlflow-artifacts:/…` and fetch through it. A client of the bare SQLite database
finds the same files by this plugin, which MLflow loads by its entry point `mlflow.artifact_repository`.
"""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SQLITE = "sqlite:///"


def repository(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    """The repository of an `mlflow-artifacts:` address: the folder beside a local database, else MLflow's own."""
    from mlflow import get_tracking_uri
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    local = file_of(artifact_uri, tracking_uri or get_tracking_uri())
    if local:
        return LocalArtifactRepository(local)
    return MlflowArtifactsRepository(artifact_uri, tracking_uri=tracking_uri, registry_uri=registry_uri)


def file_of(artifact_uri: str, tracking_uri: str) -> str:
    """The `file:` address of an `mlflow-artifacts:` one; empty where the database has no such folder beside it."""
    parts = urlsplit(artifact_uri)
    if parts.scheme != "mlflow-artifacts" or parts.netloc or not tracking_uri.startswith(SQLITE):
        return ""
    root = (Path(tracking_uri.removeprefix(SQLITE)).parent / "artifacts").absolute()
    place = (root / unquote(parts.path).lstrip("/")).resolve()
    return place.as_uri() if root.is_dir() and place.is_relative_to(root.resolve()) else ""

"""Where a run happens: folders, addresses, ports. Built by flows/settings.py, never part of a fingerprint."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from components.contracts.config import Frozen


class Placement(Frozen):
    """One place to run. Paths are absolute; an empty address means the local default."""

    home: Path
    profile: Literal["local"] = "local"
    store: str = Field("", pattern=r"^(|/.*|s3://[a-z0-9][a-z0-9.-]*[a-z0-9](/.*)?)$")
    cache_gb: float = Field(20.0, gt=0, allow_inf_nan=False)
    tracking_uri: str = Field("", pattern=r"^(https?://.+|(sqlite|postgresql|mysql|mssql)(\+\w+)?://.+)?$")
    prefect_api_url: str = ""
    dask_address: str = ""
    data: Path | None = None
    recipes: Path | None = None
    places: tuple[tuple[str, str], ...] = Field(
        (), description="steps, each with the deployment of the flow `step` that runs it elsewhere"
    )
    notify: str = Field("", pattern=r"^([a-z0-9-]+/[a-z0-9-]+)?$", description="block TYPE/NAME of who is told")
    prefect_port: int = Field(0, ge=0, le=65535)
    mlflow_port: int = Field(0, ge=0, le=65535)
    mlflow_server: str = Field("", description="where the local MLflow server answers; found, not set")

    @property
    def store_folder(self) -> Path | None:
        """The artifact store's root folder; None where it is in a bucket."""
        if self.store.startswith("s3://"):
            return None
        return Path(self.store) if self.store else self.home / "store"

    @property
    def store_place(self) -> str:
        """The store as a person is told it."""
        return str(self.store_folder or self.store)

    @property
    def tracking(self) -> str:
        """The address that MLflow clients use."""
        return self.tracking_uri or self.mlflow_server or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        """Where MLflow keeps files in the local profile."""
        return self.home / "mlflow" / "artifacts"

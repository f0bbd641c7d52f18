"""Where a run happens: folders, addresses, ports. Built by flows/settings.py, never part of a fingerprint."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from components.contracts.config import Frozen


class Placement(Frozen):
    """One place to run. Paths are absolute; an empty address means the local default."""

    home: Path
    profile: Literal["local"] = "local"
    store: str = ""
    tracking_uri: str = Field("", pattern=r"^(https?://.+|(sqlite|postgresql|mysql|mssql)(\+\w+)?://.+)?$")
    prefect_api_url: str = ""
    dask_address: str = ""
    data: Path | None = None
    prefect_port: int = 0

    @property
    def store_folder(self) -> Path:
        """The artifact store's root folder."""
        return Path(self.store) if self.store else self.home / "store"

    @property
    def tracking(self) -> str:
        """The address that MLflow clients use."""
        return self.tracking_uri or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        """Where MLflow keeps files in the local profile."""
        return self.home / "mlflow" / "artifacts"

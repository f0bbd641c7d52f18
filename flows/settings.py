"""The only reader of environment variables: `MILLRACE_*` in, a `Placement` out.

Prefect's and MLflow's own settings are set from it before either is imported, so a profile, an address or a token
that the user has for other work never receives a run of ours.
"""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.contracts.closure import ROOT
from components.contracts.errors import ConfigError, masked
from components.contracts.placement import Placement

PREFIX = "MILLRACE_"
CREDENTIALS = "MILLRACE_SECRET_"
"""What credentials by name begin with; adapters/secrets.py reads them."""
NAMES = {
    "HOME": "home",
    "PROFILE": "profile",
    "STORE": "store",
    "CACHE_GB": "cache_gb",
    "TRACKING_URI": "tracking_uri",
    "PREFECT_API_URL": "prefect_api_url",
    "DASK_ADDRESS": "dask_address",
    "DATA": "data",
    "RECIPES": "recipes",
    "NOTIFY": "notify",
    "PLACES": "places",
    "PREFECT_PORT": "prefect_port",
    "MLFLOW_PORT": "mlflow_port",
}
AWAY = ("ingest", "validate", "clean", "preprocess", "train", "package", "evaluate", "compress")
"""Steps that may run in a work pool of their own; the gate and the registry are the run's own business."""
OF_FLOWS: Mapping[str, Any] = {"persist_result": False, "result_storage": Path(os.devnull), "log_prints": False}
"""Options of every flow. No result is kept by Prefect, which would ask its server where to, twice in a run."""
NOBODY = ROOT / "infra" / "prefect" / "nobody.pem"
"""An authority that signed nothing. Each of Prefect's clients reads all authorities of the web, which takes 0.05 s,
also where its server is the one of this machine, which is asked in plain HTTP."""
LOGINS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Kept where a tracking server was set: it may ask for them."""


def read(environment: Mapping[str, str] = os.environ) -> Placement:
    """Where to run.

    Raises:
        ConfigError: E_CONFIG, naming the variable.
    """
    values: dict[str, Any] = {
        field: environment[PREFIX + name] for name, field in NAMES.items() if environment.get(PREFIX + name)
    }
    for name in environment:
        if name.startswith(PREFIX) and not name.startswith(CREDENTIALS) and name.removeprefix(PREFIX) not in NAMES:
            raise ConfigError(
                "E_CONFIG",
                "there is no such setting",
                place=name,
                allowed=", ".join(PREFIX + one for one in NAMES),
                action="unset it or correct its name",
            )
    values["home"] = Path(values.get("home", ".millrace")).expanduser().absolute()
    for name in {"data", "recipes"} & set(values):
        values[name] = Path(values[name]).expanduser().absolute()
    if values.get("store") and "://" not in values["store"]:
        values["store"] = str(Path(values["store"]).expanduser().absolute())
    if "places" in values:
        values["places"] = _pairs(values["places"])
    if "recipes" in values and not values["recipes"].is_dir():
        what, action = "there is no such folder", "correct the setting or unset it"
        raise ConfigError("E_CONFIG", what, place=f"{PREFIX}RECIPES", value=str(values["recipes"]), action=action)
    try:
        return Placement.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        name = next(name for name, known in NAMES.items() if known == field)
        raise ConfigError(
            "E_CONFIG",
            first["msg"],
            place=PREFIX + name,
            value=masked(str(first["input"])),
            action="correct the setting",
        ) from None


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """`step=deployment` pairs, with commas between."""
    found = {}
    for one in filter(None, (part.strip() for part in text.split(","))):
        step, _, deployment = one.partition("=")
        if step not in AWAY or not deployment:
            raise ConfigError(
                "E_CONFIG",
                "this says not which step runs where",
                place=f"{PREFIX}PLACES",
                value=one,
                allowed=f"STEP=DEPLOYMENT, with commas between; STEP is {', '.join(AWAY)}",
                action="correct the setting",
            )
        found[step] = deployment
    return tuple(found.items())


def export(placement: Placement, prefect_api_url: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what Prefect and MLflow read, and remove what was set for other work."""
    keep = LOGINS if placement.tracking_uri else ()
    for name in list(environment):
        if name.startswith(("PREFECT_", "MLFLOW_")) and name not in keep:
            del environment[name]
    environment.update(prefect_settings(placement, prefect_api_url))
    environment.update(mlflow_settings(placement))
    environment.update(DO_NOT_TRACK="1", NO_PROXY=_no_proxy(environment))


def for_service(settings: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """This process's environment for a service, without what Prefect and MLflow were told for other work."""
    others = ("PREFECT_", "MLFLOW_")
    kept = {
        name: value
        for name, value in environment.items()
        # What workers of Kubernetes and the like are told says nothing of which server they belong to.
        if not name.startswith(others) or name.startswith("PREFECT_INTEGRATIONS_")
    }
    return {**kept, **settings, "DO_NOT_TRACK": "1", "NO_PROXY": _no_proxy(kept)}


def _no_proxy(environment: Mapping[str, str]) -> str:
    # A proxy that the user has for the outside must not see what goes to a server on this machine.
    return f"{environment.get('NO_PROXY', '')},127.0.0.1,localhost"


def own_settings(placement: Placement) -> dict[str, str]:
    """The `MILLRACE_*` variables that give this placement in any folder."""
    values = {name: getattr(placement, field) for name, field in NAMES.items()}
    values["PLACES"] = ",".join(f"{step}={where}" for step, where in placement.places)
    return {PREFIX + name: str(value) for name, value in values.items() if value}


def logins(placement: Placement, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The tracking server's login, where one was set."""
    return {name: environment[name] for name in LOGINS if placement.tracking_uri and name in environment}


def mlflow_settings(placement: Placement) -> dict[str, str]:
    """The variables for an MLflow client of this placement."""
    return {
        "MLFLOW_TRACKING_URI": placement.tracking,
        "MLFLOW_REGISTRY_URI": placement.tracking,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # A server that is away is asked again by adapters/tracking_calls.py, which knows what may be asked twice.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    }


def prefect_settings(placement: Placement, api_url: str) -> dict[str, str]:
    """The variables for a Prefect client or server of this placement."""
    home = placement.home / "prefect"
    own = {"PREFECT_API_SSL_CERT_FILE": str(NOBODY)} if api_url.startswith("http://127.0.0.1:") else {}
    return {
        **own,
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_API_URL": api_url,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_CLI_PROMPT": "false",
        # After 2, 4, 8 … seconds: a server that comes back within eight minutes is told how a run ended.
        "PREFECT_CLIENT_MAX_RETRIES": "8",
    }

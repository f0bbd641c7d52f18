"""`millrace deploy`: the deployments of infra/prefect/prefect.yaml and one for each quick recipe on built-in data."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from components.contracts.closure import ROOT
from components.contracts.errors import ConfigError, EnvironmentFault
from components.contracts.placement import Placement
from flows import recipe_files, server, settings, worker
from flows.automations import automate
from flows.pipeline import load_recipe
from flows.processes import Running, python

FILE = ROOT / "infra" / "prefect" / "prefect.yaml"
BUILT_IN = "built in"
RETRAINS = "flows/retraining.py"
POOL_LIMIT = 2
"""Runs at a time of the local pool: a training uses every core."""


def deploy(placement: Placement, cron: str = "", elsewhere: Sequence[str] = ()) -> tuple[Running, list[dict[str, Any]]]:
    """Create or update every deployment on the running server; `cron` replaces the times of retraining.

    Each pool of `elsewhere` (NAME or NAME:RUNS) gets a deployment of its name that runs single steps.

    Returns the server and the deployments as they stand in the file.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, there is no server; E_DEPLOY, Prefect refused one.
        ConfigError: E_CONFIG, the cron text.
    """
    running = server.required(placement, "deploy")
    # Before the first import of Prefect, which would otherwise start a server of its own.
    settings.export(placement, running.api_url)
    content = yaml.safe_load(FILE.read_text())
    content["deployments"] += _of_recipes(content["definitions"]["recipe"])
    limits = dict(map(_pool, elsewhere))
    content["deployments"] += [
        {**content["definitions"]["step"], "name": name, "work_pool": {"name": name}} for name in limits
    ]
    if cron:
        _check_cron(cron)
        for one in content["deployments"]:
            for schedule in one.get("schedules", ()) if one["entrypoint"].startswith(RETRAINS) else ():
                schedule["cron"] = cron
    pools = {one["work_pool"]["name"] for one in content["deployments"]}
    written = placement.home / "prefect" / "deployments.yaml"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(yaml.safe_dump(content, sort_keys=False))
    for pool in sorted(pools):
        _make_pool(pool, limits.get(pool, POOL_LIMIT))
    arguments = ("-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(written))
    done = subprocess.run(python(*arguments), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _refused(done.stdout + done.stderr)
    for one in content["deployments"]:
        _close(f"{one['entrypoint'].rpartition(':')[2]}/{one['name']}")
    automate(placement)
    return running, content["deployments"]


def _close(name: str) -> None:
    """Let a deployment's form take no field that the flow does not have: Prefect would find out when the run starts."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)
        schema = {**(deployment.parameter_openapi_schema or {}), "additionalProperties": False}
        place = {"id": deployment.id}
        client.request("PATCH", "/deployments/{id}", path_params=place, json={"parameter_openapi_schema": schema})


def _pool(text: str) -> tuple[str, int]:
    """NAME or NAME:RUNS of a work pool, and how many runs it takes at a time."""
    found = re.fullmatch(r"([a-z0-9][a-z0-9-]{0,62})(?::([1-9][0-9]{0,3}))?", text)
    if found is None or found[1] == worker.POOL:
        raise ConfigError(
            "E_CONFIG",
            "this is no pool for steps",
            place="--pool",
            value=text,
            allowed=f"NAME or NAME:RUNS of lower-case letters, digits and dashes, and not {worker.POOL}",
            action="name another",
        )
    return found[1], int(found[2] or 1)


def _make_pool(name: str, limit: int) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.process import ProcessWorker

    pool = WorkPoolCreate(
        name=name,
        type=ProcessWorker.type,
        description="Processes on this machine",
        base_job_template=ProcessWorker.get_default_base_job_template(),
        concurrency_limit=limit,
    )
    with get_client(sync_client=True) as client:
        client.create_work_pool(pool, overwrite=True)


def _of_recipes(like: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in recipe_files.names():
        config = load_recipe(name)
        if config.proof.quick and config.proof.data == BUILT_IN:
            yield {**like, "name": name, "description": config.description, "parameters": {"recipe": name}}


def _check_cron(cron: str) -> None:
    # What Prefect itself plans with; it checks the text, and not whether such a day exists.
    from prefect._vendor.croniter.croniter import CroniterBadDateError, croniter
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    def wrong(what: str) -> ConfigError:
        allowed = "minute hour day month weekday, such as 0 3 * * *"
        return ConfigError("E_CONFIG", what, place="--cron", value=cron, allowed=allowed, action="correct it")

    try:
        CronSchedule(cron=cron)
    except ValidationError as error:
        raise wrong("this is no cron text") from error
    if len(cron.split()) > 5:
        # Prefect takes a sixth field for seconds.
        raise wrong("this has more than five fields")
    try:
        croniter(cron).get_next()  # type: ignore[no-untyped-call]
    except CroniterBadDateError as error:
        raise wrong("this time never comes") from error


def _refused(said: str) -> EnvironmentFault:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return EnvironmentFault(
        "E_DEPLOY",
        f"Prefect refused it: {' '.join(lines[-3:])[-300:]}",
        place=str(FILE.relative_to(ROOT)),
        action="correct the file and deploy again",
    )

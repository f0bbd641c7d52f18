"""`millrace deploy`: the deployments of infra/prefect/prefect.yaml and one for each quick recipe on built-in data."""

import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from components.contracts.closure import ROOT
from components.contracts.errors import EnvironmentFault
from components.contracts.placement import Placement
from flows import recipe_files, server, settings, worker
from flows.automations import automate
from flows.living import store_tag
from flows.pipeline import load_recipe
from flows.pools import Pool, make_pool, make_queues, parse_pool, step_in
from flows.processes import Running, python
from flows.schedules import check_pace, check_schedules, check_zone, coming, longest

FILE = ROOT / "infra" / "prefect" / "prefect.yaml"
BUILT_IN = "built in"
RETRAINS = "flows/retraining.py"


def deploy(
    placement: Placement, cron: str = "", zone: str = "", elsewhere: Sequence[str] = ()
) -> tuple[Running, list[dict[str, Any]]]:
    """Create or update every deployment on the running server; `cron` and `zone` replace the times of retraining.

    Each pool of `elsewhere` (NAME[:RUNS[:KIND]]) gets a deployment of its name that runs single steps.

    Returns the server and the deployments as they stand in the file.

    Raises:
        EnvironmentFault: E_SERVER_UNREACHABLE, there is no server; E_DEPLOY, Prefect refused one.
        ConfigError: E_SCHEDULE, a time that never comes, comes too often or could pile up; E_CONFIG, a pool, or
            one that could not reach what its runs share with others.
    """
    running = server.required(placement, "deploy")
    # Before the first import of Prefect, which would otherwise start a server of its own.
    settings.export(placement, running.api_url)
    content = yaml.safe_load(FILE.read_text())
    content["deployments"] += _of_recipes(content["definitions"]["recipe"])
    others = [parse_pool(text) for text in elsewhere]
    content["deployments"] += [step_in(pool, placement, content["definitions"]["step"]) for pool in others]
    _schedule(content["deployments"], cron, zone)
    for one in content["deployments"]:
        one["tags"] = [*one.get("tags", ()), store_tag(placement)]
    written = placement.home / "prefect" / "deployments.yaml"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(yaml.safe_dump(content, sort_keys=False))
    for pool in (Pool(name=worker.POOL, runs=None), *others):
        make_pool(pool)
    make_queues(worker.POOL)
    arguments = ("-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(written))
    done = subprocess.run(python(*arguments), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _refused(done.stdout + done.stderr)
    for one in content["deployments"]:
        _close(f"{one['entrypoint'].rpartition(':')[2]}/{one['name']}")
    automate(placement)
    return running, content["deployments"]


def _schedule(deployments: Sequence[dict[str, Any]], cron: str, zone: str) -> None:
    """Give retraining its times, and look at those of all."""
    asked = {name: value for name, value in (("cron", cron), ("timezone", zone)) if value}
    if zone:
        check_zone(zone, "--timezone")
    if cron:
        coming(asked, "--cron")
    for one in deployments:
        if one["entrypoint"].startswith(RETRAINS) and "schedules" in one:
            one["schedules"] = [{**schedule, **asked} for schedule in one["schedules"]]
    check_schedules(deployments, FILE.name)
    for one in deployments:
        flow = one["entrypoint"].rpartition(":")[2]
        for schedule in one.get("schedules", ()):
            if schedule.get("active", True):
                check_pace(schedule, longest(flow, one["name"]), f"{flow}/{one['name']}")


def _close(name: str) -> None:
    """Let a deployment's form take no field that the flow does not have: Prefect would find out when the run starts."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)
        schema = {**(deployment.parameter_openapi_schema or {}), "additionalProperties": False}
        place = {"id": deployment.id}
        client.request("PATCH", "/deployments/{id}", path_params=place, json={"parameter_openapi_schema": schema})


def _of_recipes(like: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in recipe_files.names():
        config = load_recipe(name)
        if config.proof.quick and config.proof.data == BUILT_IN:
            yield {**like, "name": name, "description": config.description, "parameters": {"recipe": name}}


def _refused(said: str) -> EnvironmentFault:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return EnvironmentFault(
        "E_DEPLOY",
        f"Prefect refused it: {' '.join(lines[-3:])[-300:]}",
        place=str(FILE.relative_to(ROOT)),
        action="correct the file and deploy again",
    )

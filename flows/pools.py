"""Work pools: the local one with its queues, and those for single steps, of processes, containers or Kubernetes' jobs.

What a pool of containers or jobs is stands in infra/prefect/pools, one file for each kind.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.contracts.closure import ROOT
from components.contracts.errors import ConfigError, masked
from components.contracts.placement import Placement
from flows.settings import PREFIX, own_settings
from flows.worker import POOL, PROCESS

FOLDER = ROOT / "infra" / "prefect" / "pools"
INSIDE = "/opt/millrace"
"""Where the image of infra/docker has the code."""
KUBERNETES = "kubernetes"
QUEUES = {"default": 2, "parts": 2, "care": 1}
"""Runs at a time of each queue of the local pool.

A training uses every core. Steps and trials that a run waits for have places of their own, and so has what ends runs
that went away: both come to their turn while all other places are held.
"""
SHARED = ("STORE", "TRACKING_URI", "PREFECT_API_URL", "DASK_ADDRESS")
"""Settings that mean the same on every machine."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A work pool: how many runs it takes at a time (None: as its queues say), and what they are."""

    name: str
    runs: int | None = 1
    kind: str = PROCESS


def parse_pool(text: str) -> Pool:
    """NAME, NAME:RUNS or NAME:RUNS:KIND as a pool.

    Raises:
        ConfigError: E_CONFIG.
    """
    found = re.fullmatch(rf"([a-z0-9][a-z0-9-]{{0,62}})(?::([1-9][0-9]{{0,3}})(?::({'|'.join(kinds())}))?)?", text)
    if found is None or found[1] == POOL:
        raise ConfigError(
            "E_CONFIG",
            "this is no pool for steps",
            place="--pool",
            value=text,
            allowed=f"NAME[:RUNS[:KIND]], KIND being {', '.join(kinds())}; a name has lower-case letters, digits and "
            f"dashes, and is not {POOL}",
            action="name another",
        )
    return Pool(name=found[1], runs=int(found[2] or 1), kind=found[3] or PROCESS)


def kinds() -> list[str]:
    """What the runs of a pool may be."""
    return [PROCESS, *sorted(path.stem for path in FOLDER.glob("*.yaml"))]


def make_pool(pool: Pool) -> None:
    """Create or update it on the Prefect server.

    Raises:
        ConfigError: E_CONFIG, there is one of that name whose runs are of another kind.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    if pool.kind == PROCESS:
        told, template = "Processes on this machine", ProcessWorker.get_default_base_job_template()
    else:
        content = described(pool.kind)
        told = content["description"]
        template = {name: content[name] for name in ("job_configuration", "variables")}
    made = WorkPoolCreate(
        name=pool.name, type=pool.kind, description=told, base_job_template=template, concurrency_limit=pool.runs
    )
    with get_client(sync_client=True) as client:
        with suppress(ObjectNotFound):
            known = client.read_work_pool(pool.name)
            if known.type != pool.kind:
                raise ConfigError(
                    "E_CONFIG",
                    f"there is a pool of that name whose runs are of the kind {known.type}",
                    place="--pool",
                    value=f"{pool.name}:{pool.runs}:{pool.kind}",
                    action="name another, or delete that one on Prefect's pages",
                )
        client.create_work_pool(made, overwrite=True)


def make_queues(pool: str) -> None:
    """Give the local pool its queues on the Prefect server."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        for name, runs in QUEUES.items():
            try:
                known = client.read_work_queue_by_name(name, pool)
            except ObjectNotFound:
                client.create_work_queue(name, concurrency_limit=runs, work_pool_name=pool)
            else:
                client.update_work_queue(known.id, concurrency_limit=runs)


def described(kind: str) -> dict[str, Any]:
    """The file of a kind of pool."""
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{kind}.yaml").read_text())
    return content


def step_in(pool: Pool, placement: Placement, like: dict[str, Any]) -> dict[str, Any]:
    """The deployment of single steps in a pool, as Prefect's files write it.

    Raises:
        ConfigError: E_CONFIG, its runs could not reach what they share with others.
    """
    made = {**like, "name": pool.name, "work_pool": {"name": pool.name}}
    if pool.kind == PROCESS:
        return made
    if pool.kind == KUBERNETES:
        _check_shared(pool, placement)
        variables: dict[str, Any] = {"env": _settings(placement)}
    else:
        variables = _on_this_machine(placement)
    made["work_pool"]["job_variables"] = variables
    made["pull"] = [{"prefect.deployments.steps.set_working_directory": {"directory": INSIDE}}]
    return made


def _check_shared(pool: Pool, placement: Placement) -> None:
    """Raise where a setting names what only this machine has."""
    near = re.compile(r"//(localhost|127\.|\[::1\])")
    for name, value, kind in (
        ("STORE", placement.store, "s3://"),
        ("TRACKING_URI", placement.tracking_uri, ""),
        ("PREFECT_API_URL", placement.prefect_api_url, ""),
    ):
        if not value.startswith(kind) or not value or near.search(value) or value.startswith("sqlite"):
            raise ConfigError(
                "E_CONFIG",
                f"jobs of the pool {pool.name} run on other machines, which cannot reach this",
                place=PREFIX + name,
                value=masked(value),
                allowed="a bucket, s3://…" if kind else "the address of a server that other machines reach",
                action="set it, and deploy again",
            )


def _settings(placement: Placement) -> dict[str, str]:
    """What runs elsewhere are told; never a login, which Prefect would keep and show."""
    own = own_settings(placement)
    told = {PREFIX + name: own[PREFIX + name] for name in SHARED if PREFIX + name in own}
    return {name: value for name, value in told.items() if masked(value) == value}


def _on_this_machine(placement: Placement) -> dict[str, Any]:
    """Containers that see the home, the data and the recipes where they are, and write files as this user."""
    folders = [(placement.home, ""), (placement.data, ":ro"), (placement.recipes, ":ro")]
    folders += [(placement.store_folder, "")] if placement.store else []
    seen = {path: f"{path}:{path}{mode}" for path, mode in folders if isinstance(path, Path)}
    own = own_settings(placement)
    paths = {PREFIX + name: own[PREFIX + name] for name in ("HOME", "DATA", "RECIPES") if PREFIX + name in own}
    return {
        "env": {**_settings(placement), **paths},
        "volumes": list(seen.values()),
        "container_create_kwargs": {"user": f"{os.getuid()}:{os.getgid()}"},
    }

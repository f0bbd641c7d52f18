"""Run where Prefect's workers of containers and jobs are installed: what each makes of the pools' files, as JSON."""

import asyncio
import json
import sys
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import yaml
from prefect.client.schemas.objects import FlowRun

WORKERS = {
    "docker": ("prefect_docker.worker", "DockerWorkerJobConfiguration"),
    "kubernetes": ("prefect_kubernetes.worker", "KubernetesWorkerJobConfiguration"),
}


def rendered(kind, given):
    module, name = WORKERS[kind]
    content = yaml.safe_load(Path("infra", "prefect", "pools", f"{kind}.yaml").read_text())
    template = {one: content[one] for one in ("job_configuration", "variables")}
    configuration = getattr(import_module(module), name)
    unknown = set(content["job_configuration"]) - set(configuration.model_fields)
    assert not unknown, unknown
    made = asyncio.run(configuration.from_template_and_values(base_job_template=template, values=given))
    made.prepare_for_flow_run(FlowRun(id=uuid4(), name="step of iris-mlp", flow_id=uuid4()))
    return made.model_dump(mode="json")


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps({kind: rendered(kind, asked[kind]) for kind in WORKERS}))

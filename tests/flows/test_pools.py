import json
import re
from pathlib import Path

import pytest
import yaml

from components.contracts.closure import ROOT
from components.contracts.errors import ConfigError
from components.contracts.placement import Placement
from flows.pools import INSIDE, Pool, described, kinds, parse_pool, step_in

READ = ["get", "list", "watch"]
LIKE = {"entrypoint": "flows/step.py:step", "tags": ["millrace", "step"]}
ELSEWHERE = {
    "store": "s3://models/store",
    "tracking_uri": "https://mlflow.example:5000",
    "prefect_api_url": "http://prefect.example:4200/api",
}


def texts(value):
    if isinstance(value, dict):
        return [one for inner in value.values() for one in texts(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in texts(inner)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(
    ("text", "pool"),
    [
        ("gpu", Pool(name="gpu")),
        ("gpu:2", Pool(name="gpu", runs=2)),
        ("gpu:2:docker", Pool(name="gpu", runs=2, kind="docker")),
        ("jobs:40:kubernetes", Pool(name="jobs", runs=40, kind="kubernetes")),
    ],
)
def test_a_pool_is_a_name_a_number_and_a_kind(text, pool):
    assert parse_pool(text) == pool


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "text", ["", "GPU", "gpu:0", "gpu:docker", "gpu:1:ecs", "millrace", "a b", "-a", "gpu:1:docker:x"]
)
def test_bad_input_a_pool_that_is_none(text):
    with pytest.raises(
        ConfigError, match=r"E_CONFIG --pool: this is no pool for steps .*KIND being process, docker, k"
    ):
        parse_pool(text)


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_every_place_in_a_pools_file_is_a_field_of_its_form(kind):
    content = described(kind)
    assert (content["type"], kind in kinds()) == (kind, True)
    asked = {name for text in texts(content["job_configuration"]) for name in re.findall(r"{{\s*(\w+)\s*}}", text)}
    fields = content["variables"]["properties"]
    assert asked == set(fields)
    assert all(one["title"] and one["description"] for one in fields.values())


def test_steps_in_processes_run_in_the_checkout(placement):
    assert step_in(Pool(name="big"), placement, LIKE) == {**LIKE, "name": "big", "work_pool": {"name": "big"}}


def test_containers_see_home_data_and_recipes_where_they_are_and_no_login(tmp_path):
    placement = Placement(
        home=tmp_path / "home",
        data=tmp_path / "data",
        store=str(tmp_path / "store"),
        tracking_uri="postgresql://user:pa55word@db.example/mlflow",
    )
    made = step_in(Pool(name="boxes", kind="docker"), placement, LIKE)
    given = made["work_pool"]["job_variables"]
    assert given["volumes"] == [
        f"{tmp_path}/home:{tmp_path}/home",
        f"{tmp_path}/data:{tmp_path}/data:ro",
        f"{tmp_path}/store:{tmp_path}/store",
    ]
    assert given["env"] == {
        "MILLRACE_HOME": f"{tmp_path}/home",
        "MILLRACE_DATA": f"{tmp_path}/data",
        "MILLRACE_STORE": f"{tmp_path}/store",
    }
    assert "pa55word" not in json.dumps(made)
    assert made["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": INSIDE}}]


def test_jobs_are_told_what_they_share_with_others():
    made = step_in(Pool(name="jobs", kind="kubernetes"), Placement(home=Path("/home/me"), **ELSEWHERE), LIKE)
    assert made["work_pool"]["job_variables"]["env"] == {
        "MILLRACE_STORE": "s3://models/store",
        "MILLRACE_TRACKING_URI": "https://mlflow.example:5000",
        "MILLRACE_PREFECT_API_URL": "http://prefect.example:4200/api",
    }


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("store", ""),
        ("store", "/data/store"),
        ("tracking_uri", ""),
        ("tracking_uri", "sqlite:////home/me/mlflow.db"),
        ("tracking_uri", "http://localhost:5000"),
        ("prefect_api_url", ""),
        ("prefect_api_url", "http://127.0.0.1:4200/api"),
    ],
)
def test_bad_input_jobs_elsewhere_that_could_not_reach_what_is_here(field, value):
    placement = Placement(home=Path("/home/me"), **{**ELSEWHERE, field: value})
    with pytest.raises(ConfigError) as raised:
        step_in(Pool(name="jobs", kind="kubernetes"), placement, LIKE)
    assert raised.value.line().startswith(
        f"E_CONFIG MILLRACE_{field.upper()}: jobs of the pool jobs run on other machines, which cannot reach this"
    )


def test_the_worker_of_jobs_may_do_what_prefects_worker_does_and_no_more():
    documents = list(yaml.safe_load_all((ROOT / "infra" / "kubernetes" / "worker.yaml").read_text()))
    kinds_of = [one["kind"] for one in documents]
    assert kinds_of == ["ConfigMap", "ServiceAccount", "Role", "RoleBinding", "Deployment"]
    assert {one["metadata"]["namespace"] for one in documents} == {"millrace"}
    assert documents[2]["rules"] == [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": [*READ, "create", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["pods", "pods/log", "pods/status", "events"], "verbs": READ},
    ]
    (container,) = documents[-1]["spec"]["template"]["spec"]["containers"]
    variables = described("kubernetes")["variables"]["properties"]
    assert container["image"] == variables["image"]["default"]
    assert documents[-1]["spec"]["template"]["spec"]["serviceAccountName"] == documents[1]["metadata"]["name"]
    settings = documents[0]["data"]
    Placement(home=Path("/h"), store=settings["MILLRACE_STORE"], tracking_uri=settings["MILLRACE_TRACKING_URI"])
    assert {"configMapRef": {"name": documents[0]["metadata"]["name"]}} in container["envFrom"]


def test_the_image_is_made_from_the_lock_and_runs_where_deployments_expect_it():
    lines = (ROOT / "infra" / "docker" / "Dockerfile").read_text()
    assert f"WORKDIR {INSIDE}\n" in lines
    assert (
        f"MILLRACE_HOME={described('kubernetes')['job_configuration']['job_manifest']['spec']['template']['spec']['containers'][0]['volumeMounts'][0]['mountPath']}"
        in lines
    )
    for name in re.findall(r"infra/docker/[\w.]+", lines):
        assert (ROOT / name).is_file()
    copied = {one for line in re.findall(r"^COPY \S+ (.*) \S+$", lines, re.MULTILINE) for one in line.split()}
    kept = {one[1:] for one in (ROOT / ".dockerignore").read_text().split() if one.startswith("!")}
    assert {one.partition("/")[0] for one in copied} <= kept

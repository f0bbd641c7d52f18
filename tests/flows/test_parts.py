"""Parts of the flow that whole runs do not show."""

import pytest

from components.contracts.errors import ConfigError
from flows.pipeline import load_recipe
from flows.tracking import flat


def test_any_column_name_makes_a_parameter_that_mlflow_takes():
    found = flat({"checks": {"price ($)": {"type": "int64"}, "is_fraud?": [1]}, "empty": {}})
    assert found == {"checks.price (_).type": "int64", "checks.is_fraud_": "[1]", "empty": "{}"} or set(found) == {
        "checks.price ___.type",
        "checks.is_fraud_",
        "empty",
    }


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("register.name=fraud.v1", "register.name"),
        ("register.name=../x", "register.name"),
        ("features.0.name=a/b", "features.0.name"),
        ("features=[{kind: number, columns: [a]}, {kind: number, columns: [b]}]", "features.name"),
        ("checks.columns.label.maximum=.inf", "checks.columns.label.maximum"),
        ("train.monitor=f1", "train.monitor"),
    ],
)
def test_what_would_fail_late_is_refused_when_the_recipe_is_read(override, place):
    with pytest.raises(ConfigError) as caught:
        load_recipe("digits-cnn", [override])
    assert caught.value.place == place


def test_a_date_that_is_none_is_text():
    assert load_recipe("digits-cnn", ["description=2020-13-45"]).description == "2020-13-45"


RETRIED = """
from types import SimpleNamespace
from components.contracts.errors import DataError, EnvironmentFault
from flows import tasks
from flows.runs import CURRENT
from prefect import flow
calls = []
def step(kind, code, *, ctx):
    calls.append(code)
    if calls.count(code) == 1:
        raise kind(code, "what", action="do")
    return "done"
class Run:
    ctx = SimpleNamespace(placement=SimpleNamespace(places=()))
@flow(persist_result=False)
def trial(kind, code):
    return tasks.step_task(step, "trial", hours=1)(kind, code)
token = CURRENT.set(Run())
answers = []
for kind, code in ((EnvironmentFault, "E_IO"), (DataError, "E_LABEL"), (EnvironmentFault, "E_DISK_FULL")):
    try:
        answers.append(trial(kind, code))
    except Exception as error:
        answers.append(error.code)
print(json.dumps([answers, calls]))
"""


@pytest.mark.e2e
def test_a_fault_that_may_pass_is_retried_once_and_a_mistake_is_not(millrace):
    answers, calls = millrace.query(RETRIED)
    assert answers == ["done", "E_LABEL", "E_DISK_FULL"]
    assert calls == ["E_IO", "E_IO", "E_LABEL", "E_DISK_FULL"]

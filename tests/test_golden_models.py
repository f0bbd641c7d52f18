"""Packages that former releases made (tests/golden/models) load, answer what they answered, and can be told apart."""

import json
import tarfile
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from components.packages import open_package
from components.predictor import FORMAT
from components.smoke import smoke

MODELS = Path(__file__).parent / "golden" / "models"
NAMES = sorted(path.stem for path in MODELS.glob("*.json"))
pytestmark = pytest.mark.filterwarnings("ignore:.*type hint")


@pytest.fixture(params=NAMES)
def model(request, tmp_path):
    """The folder of a package, and what it is asked and answers."""
    with tarfile.open(MODELS / f"{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path, json.loads((MODELS / f"{request.param}.json").read_text())


def test_a_model_of_a_former_release_answers_as_it_did(model):
    folder, known = model
    answers = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame(known["rows"]))
    assert list(answers) == list(known["answers"])
    assert answers["prediction"].tolist() == known["answers"]["prediction"]
    for name in ("confidence", "probabilities"):
        for found, wanted in zip(answers[name], known["answers"][name], strict=True):
            assert found == pytest.approx(wanted, rel=1e-5)
    smoke(folder)


def test_releases_are_told_apart_by_their_format(model):
    folder, _ = model
    predictor = open_package(folder)
    assert getattr(predictor, "format", 1) <= FORMAT
    assert "millrace_" in type(predictor).__module__, "its own code, and not the project's"

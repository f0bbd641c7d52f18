"""An environment made from a package's own requirements: what is the package's fault, and what is not."""

import pytest

from components.contracts.errors import EnvironmentFault
from components.environments import tried_alone


def test_an_environment_that_cannot_be_made_says_nothing_of_the_package(tmp_path, monkeypatch):
    """The next run tries again, instead of keeping for good that the package failed."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "requirements.txt").write_text("no-such-library-of-anybody==1.0\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    said = "E_REQUIREMENTS package.environment: .*No matching distribution found for no-such-library-of-anybody"
    with pytest.raises(EnvironmentFault, match=said):
        tried_alone(model, tmp_path / "home")
    # It can be made, and what is tried in it does not answer: that is the package's own.
    (model / "requirements.txt").write_text("")
    tried = tried_alone(model, tmp_path / "home")
    assert not tried.passed
    assert "mlflow" in tried.said

import pickle
import re
import subprocess
import sys

import pytest
from pydantic import Field, ValidationError

from components.contracts import errors
from components.contracts.artifacts import Ledger
from components.contracts.closure import ROOT
from components.contracts.config import StepConfig, config_classes, identity, placed
from components.contracts.errors import CODES, ConfigError, DataError, EnvironmentFault, IntegrityError, MillraceError
from components.contracts.registry import load_kind


class Inner(StepConfig):
    kind: str = "inner"
    size: int = 1


class Outer(StepConfig):
    uri: str = placed("here")
    inner: Inner = Inner()
    names: tuple[str, ...] = Field(("a",))


def test_an_error_is_one_line_with_code_place_value_allowed_and_action():
    error = ConfigError("E_CONFIG", "no such key", place="train.epoch", value=3, allowed="epochs", action="rename it")
    assert str(error) == "E_CONFIG train.epoch: no such key (got 3); allowed: epochs; rename it"


@pytest.mark.parametrize("kind", [ConfigError, DataError, EnvironmentFault, IntegrityError])
def test_an_error_survives_pickling(kind):
    error = kind("E_CONFIG", "what", place="p", value="x" * 500, allowed="a", action="do")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (str(back), back.code, back.exit_code) == (str(error), error.code, error.exit_code)


def test_an_error_needs_a_known_code():
    with pytest.raises(KeyError):
        MillraceError("E_NO_SUCH", "what", action="do")


def test_every_error_subclasses_a_builtin_beside_ours():
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, MillraceError)]
    for kind in set(kinds) - {MillraceError}:
        assert any(base is not MillraceError and issubclass(base, Exception) for base in kind.__bases__), kind


def test_every_code_is_raised_somewhere_and_no_other_is():
    text = "\n".join(
        path.read_text()
        for folder in ("components", "flows")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "errors.py"
    )
    assert set(re.findall(r'"(E_[A-Z_]+)"', text)) == set(CODES)


def test_identity_leaves_placement_out_and_names_classes():
    assert identity(Outer(uri="there")) == identity(Outer(uri="here"))
    assert identity(Outer()) == {"": "Outer", "inner": {"": "Inner", "kind": "inner", "size": 1}, "names": ["a"]}
    assert identity(Outer(inner=Inner(size=2))) != identity(Outer())


def test_config_classes_are_found_inside():
    assert list(config_classes({"x": (Outer(),)})) == [Outer, Inner]


def test_a_config_is_frozen_and_strict():
    with pytest.raises(ValidationError):
        Inner(sise=2)
    with pytest.raises(ValidationError):
        Inner().size = 3


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(ConfigError, match=r"model\.kind.*nearest: mlp.*got 'mlpp'.*allowed: cnn, mlp"):
        load_kind("components.models", {"cnn": "cnn:Cnn", "mlp": "mlp:Mlp"}, {"kind": "mlpp"}, "model")


def test_the_page_of_codes_is_that_of_the_code():
    """To renew it: make docs"""
    page = ROOT / "infra" / "docs" / "errors.md"
    code = "import write_errors, sys; sys.stdout.write(write_errors.page())"
    done = subprocess.run([sys.executable, "-c", code], cwd=page.parent, capture_output=True, text=True, check=True)
    assert done.stdout == page.read_text()


def test_a_ledger_that_loses_a_row_is_refused():
    Ledger(rows_in=5, added=1, rows_out=3, quarantined=1, deduplicated=1, dropped={"why": 1}).check("step")
    with pytest.raises(IntegrityError, match="E_LEDGER step: 5 rows entered, 4 are accounted for"):
        Ledger(rows_in=5, rows_out=4).check("step")


def test_ledgers_add_up():
    total = Ledger(rows_in=2, rows_out=1, dropped={"a": 1}) + Ledger(rows_in=3, rows_out=2, dropped={"b": 1})
    assert total == Ledger(rows_in=5, rows_out=3, dropped={"a": 1, "b": 1})

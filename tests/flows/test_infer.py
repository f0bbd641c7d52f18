"""Checks that are proposed by looking at a source."""

import yaml

from flows.infer import checks_of
from flows.pipeline import PipelineConfig


def test_a_source_says_what_its_columns_seem_to_be(tmp_path, placement, capsys):
    lines = [f"{n},{n / 2},00{n % 10}1,2024-01-{n % 28 + 1:02d},{'ab'[n % 2]},{'' if n % 7 else n}" for n in range(200)]
    (tmp_path / "t.csv").write_text("n,x,code,day,kind,some\n" + "\n".join(lines) + "\n")
    found = yaml.safe_load(checks_of(placement, str(tmp_path / "t.csv"), []))
    assert found["checks"]["columns"] == {
        "n": {"type": "int64", "nullable": False},
        "x": {"type": "float64", "nullable": False},
        "code": {"type": "string", "nullable": False, "allowed": [f"00{n}1" for n in range(10)]},
        "day": {"type": "date", "nullable": False},
        "kind": {"type": "string", "nullable": False, "allowed": ["a", "b"]},
        "some": {"type": "int64"},
    }
    PipelineConfig.model_fields["checks"].annotation.model_validate(found["checks"])


def test_proposed_checks_are_such_as_the_data_pass(tmp_path, placement, ctx):
    long = ["x" * 300, "y" * 300]
    lines = [f"2024-01-01 10:00:{at % 60:02d},{long[at % 2]}" for at in range(200)]
    (tmp_path / "t.csv").write_text("at,text\n" + "\n".join(lines) + "\n")
    found = yaml.safe_load(checks_of(placement, str(tmp_path / "t.csv"), []))["checks"]["columns"]
    assert found == {
        "at": {"type": "timestamp", "nullable": False, "timezone": "UTC"},
        "text": {"type": "string", "nullable": False},
    }

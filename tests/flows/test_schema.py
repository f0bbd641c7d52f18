"""The JSON Schema of recipes."""

import json

import jsonschema
import pytest
import yaml

from flows.recipe_files import SHIPPED, names
from flows.schema import recipe_schema
from tests.flows.recipe_lines import SMALL, lines


@pytest.fixture(scope="module")
def schema():
    made = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


@pytest.mark.parametrize("name", names())
def test_the_schema_takes_every_shipped_recipe(schema, name):
    assert list(schema.iter_errors(yaml.safe_load((SHIPPED / f"{name}.yaml").read_text()))) == []


@pytest.mark.parametrize(
    "change",
    [
        {"trian": {}},
        {"model": {"kind": "mlp", "hiden": [3]}},
        {"model": {"kind": "nope"}},
        {"train": {"batch_size": 0}},
        {"source": {"kind": "csv"}},
        {"features": []},
        {"model": {"kind": "custom"}},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(schema, change, tmp_path):
    wrong = yaml.safe_load(SMALL) | change
    assert list(schema.iter_errors(wrong))
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(wrong))
    assert lines(str(path))


def test_the_schema_describes_every_key_and_offers_custom_kinds(schema):
    text = json.dumps(schema.schema)
    assert "x-millrace" not in text
    assert schema.schema["$defs"]["TrainSettings"]["properties"]["learning_rate"]["description"]
    custom = yaml.safe_load(SMALL) | {"model": {"kind": "custom", "target": "a.b:C", "depth": 3}}
    assert list(schema.iter_errors(custom)) == []
    several = {
        "target": {"kind": "several", "parts": [{"kind": "label", "name": n, "column": n} for n in "yz"]},
        "objective": {"kind": "several", "parts": {n: {"kind": "classification", "focus": 2} for n in "yz"}},
    }
    assert list(schema.iter_errors(yaml.safe_load(SMALL) | several)) == []
    several["objective"]["parts"]["z"]["fokus"] = 2
    assert list(schema.iter_errors(yaml.safe_load(SMALL) | several))
    for variation in (
        {},
        {"model": {"layers": []}},
        {"target": {"column": "z"}},
        {"checks": {"columns": {"image": {"nullable": True}}}},
    ):
        assert list(schema.iter_errors({"extends": "digits-cnn", "name": "x", **variation})) == []
    assert list(schema.iter_errors({"extends": "digits-cnn", "name": "x", "trian": {}}))
    assert list(schema.iter_errors({"extends": "digits-cnn"}))
    bare = [
        f"{name}.{key}"
        for name, one in schema.schema["$defs"].items()
        for key, field in one.get("properties", {}).items()
        if "description" not in field and key != "kind" and "$ref" not in field and "items" not in field
    ]
    assert bare == []

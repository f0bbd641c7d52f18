"""Recipes as data: overrides, extension, mistakes, secrets, the schema."""

import json
import pathlib
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import jsonschema
import pytest
import yaml

from components.contracts.errors import ConfigError, EnvironmentFault
from flows.pipeline import load_recipe
from flows.recipe_files import SHIPPED, names
from flows.schema import recipe_schema

SMALL = """
name: small
source: {kind: csv, uri: my.csv}
features: [{kind: number, columns: [age]}, {kind: category, columns: [city]}]
target: {kind: label, column: bought}
model: {kind: mlp}
objective: {kind: classification}
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


def lines(recipe, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe, overrides)
    assert caught.value.exit_code == 2
    return [error.line() for error in (caught.value, *caught.value.others)]


@pytest.mark.parametrize(
    ("override", "reached"),
    [
        ("train.max_epochs=3", lambda one: one.train.max_epochs == 3),
        ("train.learning_rate=1e-3", lambda one: one.train.learning_rate == 0.001),
        ("gate.minimum={accuracy: 0.5}", lambda one: one.gate.minimum == {"accuracy": 0.5}),
        ("gate.minimum.accuracy=0.5", lambda one: one.gate.minimum == {"accuracy": 0.5}),
        ("features.0.columns.0=weight", lambda one: one.features[0].columns == ("weight",)),
        ("features.0.columns.1=weight", lambda one: one.features[0].columns == ("age", "weight")),
        ("features.2={kind: image, height: 8, width: 8}", lambda one: one.features[2].kind == "image"),
        ("model={kind: mlp, hidden: []}", lambda one: one.model.hidden == ()),
        ("model.hidden=[8, 8]", lambda one: one.model.hidden == (8, 8)),
        ("cleaning.0={kind: require, columns: [age]}", lambda one: one.cleaning[0].kind == "require"),
        ('checks.columns."a.b".type=int64', lambda one: one.checks.columns["a.b"].type == "int64"),
        ("description='a: b'", lambda one: one.description == "a: b"),
    ],
)
def test_an_override_reaches_keys_lists_and_unions(small, override, reached):
    assert reached(load_recipe(small, [override]))


def test_another_kind_takes_the_place_of_one_with_its_keys(small):
    config = load_recipe(small, ["model.hidden=[8]", "model.kind=cnn", "model.layers=[{kind: conv, channels: 2}]"])
    assert config.model.model_dump()["layers"][0]["channels"] == 2
    assert load_recipe(small, ["model.hidden=[8]", "model.kind=mlp"]).model.hidden == (8,), "the same kind keeps them"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.max_epochs", "E_CONFIG --set train.max_epochs: an override is key.path=value"),
        ("=3", "an override is key.path=value"),
        ("features.5.kind=number", "--set features.5: this is a list of 2 items; give a number from 0 to 1"),
        ("features.x=1", "this is a list of 2 items; give a number from 0 to 2"),
        ("name.x=1", "nothing is below this key that could be set"),
        ("model={kind: mlp, kind: cnn}", "a key stands twice"),
    ],
)
def test_an_override_that_cannot_be_applied_is_one_line(small, override, expected):
    (line,) = lines(small, override)
    assert expected in line


def test_a_recipe_varies_another(tmp_path, small):
    child = tmp_path / "child.yaml"
    child.write_text(
        "extends: small.yaml\nname: child\nmodel: {hidden: [4]}\ntrain: {max_epochs: 2}\nfeatures: "
        "[{kind: number, columns: [n]}]\n"
    )
    config = load_recipe(str(child))
    assert (config.name, config.model.hidden, config.train.max_epochs) == ("child", (4,), 2)
    assert [one.kind for one in config.features] == ["number"], "a list is replaced"
    assert config.source.uri == str(tmp_path / "my.csv"), "beside the recipe that names it"
    other = tmp_path / "other.yaml"
    other.write_text("extends: digits-cnn\nname: other\nmodel: {kind: mlp, hidden: [4]}\n")
    assert load_recipe(str(other)).model.model_dump()["kind"] == "mlp", "another kind is laid over nothing"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extends: b.yaml\nname: a\n", "it extends itself"),
        ("extends: nowhere\nname: a\n", "a.yaml: extends: there is no such recipe or file"),
        ("extends: [x]\nname: a\n", "extends: this is a name, path or address"),
        ("extends: digits-cnn\n", "needs a name of its own"),
    ],
)
def test_an_extension_that_leads_nowhere_is_one_line(tmp_path, text, expected):
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text("extends: a.yaml\nname: b\n")
    (line,) = lines(str(tmp_path / "a.yaml"))
    assert expected in line


def test_a_users_folder_is_looked_through_before_the_shipped_ones(tmp_path, small):
    (tmp_path / "digits-cnn.yaml").write_text(SMALL.replace("name: small", "name: mine"))
    assert load_recipe("digits-cnn", folder=tmp_path).name == "mine"
    assert load_recipe("small", folder=tmp_path).name == "small"
    assert names(tmp_path) == sorted({*names(), "small"})


def test_a_module_beside_the_recipe_can_be_named(tmp_path, small, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "beside.py").write_text(
        "from components.contracts.config import CustomConfig\n\n\nclass Net(CustomConfig):\n"
        "    width: int = 4\n\n    def build(self, inputs, outputs):\n        return None\n"
    )
    config = load_recipe(small, ["model={kind: custom, target: 'beside:Net', width: 8}"])
    assert config.model.model_dump()["width"] == 8
    (line,) = lines(small, "model={kind: custom, target: 'beside:Net', widht: 8}")
    assert "model.widht: there is no such key; nearest: width" in line
    (line,) = lines(small, "model={kind: custom, target: 'beside:Nett'}")
    assert "model.target: its module has no such class; nearest: Net" in line
    (tmp_path / "beside2.py").write_text("import beside\n" + (tmp_path / "beside.py").read_text())
    (line,) = lines(small, "model={kind: custom, target: 'beside2:Net'}")
    assert "cannot carry" in line, "told before anything is trained"


@pytest.fixture
def web(tmp_path):
    """A web server over a folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_recipe_is_fetched_from_an_address(web, tmp_path, small, s3):
    (tmp_path / "child.yaml").write_text("extends: small.yaml\nname: child\ntrain: {max_epochs: 2}\n")
    assert load_recipe(f"{web}/child.yaml").train.max_epochs == 2
    bucket = s3.bucket()
    name = bucket.removeprefix("s3://").partition("/")[0]
    s3.client().put_object(Bucket=name, Key="r/small.yaml", Body=SMALL.encode())
    assert load_recipe(f"s3://{name}/r/small.yaml").name == "small"


def test_an_address_that_gives_nothing_is_one_line(web, tmp_path):
    with pytest.raises(ConfigError, match="it cannot be read"):
        load_recipe(f"{web}/none.yaml")
    with pytest.raises(ConfigError, match="no such kind of address"):
        load_recipe("nope://x/y.yaml")
    (tmp_path / "big.yaml").write_text("a: " + "x" * 1_000_001)
    with pytest.raises(ConfigError, match="larger than 1000000 bytes"):
        load_recipe(f"{web}/big.yaml")
    with pytest.raises(EnvironmentFault, match="E_SERVER_UNREACHABLE http://127.0.0.1:9/x.yaml"):
        load_recipe("http://127.0.0.1:9/x.yaml")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("row", "overrides", "expected"),
    [
        ("typo", ["train.epochs=3"], ["train.epochs: there is no such key; nearest: max_epochs (got 3); allowed: max_"]),
        ("typo-in-union", ["model.layers.0.chanels=3"], ["model.layers.0.chanels: there is no such key; nearest: channels"]),
        ("typo-in-kind", ["features.0.hight=3"], ["features.0.hight: there is no such key; nearest: height"]),
        ("typo-in-list", ["cleaning.0={kind: require, colums: [a]}"], ["cleaning.0.columns: this key is needed", "nearest: columns"]),
        ("typo-in-dict", ["checks.columns.label.nulable=1"], ["checks.columns.label.nulable: there is no such key; nearest: nullable"]),
        ("unknown-key", ["trian.max_epochs=3"], ["trian: there is no such key; nearest: train"]),
        ("choice", ["train.schedule=one-cicle"], ["train.schedule: there is no such choice; nearest: one-cycle (got 'one-cicle'); allowed: 'one-cycle' or 'constant'"]),
        ("negative", ["train.batch_size=-1"], ["train.batch_size: the value is not allowed (got -1); allowed: at least 1"]),
        ("nan", ["train.learning_rate=.nan"], ["train.learning_rate: this should be a finite number"]),
        ("unit", ["train.batch_size=64 rows"], ["train.batch_size: this should be a valid integer"]),
        ("kind", ["model.kind=cnnn"], ["model.kind: there is no kind of that name; nearest: cnn (got 'cnnn'); allowed: cnn, mlp"]),
        ("layer", ["model.layers.0.kind=convv"], ["model.layers.0"]),
        ("no-kind", ["model={hidden: [3]}"], ["model.kind: this key is needed"]),
        ("name", ["name=My Name"], ["name: the value is not allowed (got 'My Name'); allowed: text that matches"]),
        ("three-at-once", ["train.epochs=3", "split.test=2", "features.0.kind=imag"], ["features.0.kind", "split.test", "train.epochs"]),
    ],
)  # fmt: skip
def test_bad_input_B44_a_mistake_is_named_with_what_is_allowed(row, overrides, expected):
    """B44: the dotted key, the value, what is allowed and the nearest valid name; all mistakes at once."""
    found = lines("digits-cnn", *overrides)
    assert len(found) == len(expected)
    for line, part in zip(sorted(found), expected, strict=True):
        assert part in line
        assert "\n" not in line


HIDDEN = "hunter2hunter2hunter2hunter2hunter2"
SECRETS = [
    ("source.connection", "{{password: {}}}"),
    ("database", "{{host: h, password: {}}}"),
    ("databases", "[{{url: 'postgres://u:{}@h/db'}}]"),
    ("train", "[{{token: {}}}]"),
    ("features", "{{kind: number, password: {}}}"),
    ("source.password", "[{}]"),
    ("source.awsSecretAccessKey", "{}"),
    ("source.uri", "https://h/x.csv?access_token={}"),
    ("source.uri", "https://h/x.csv?X-Amz-Signature={}"),
    ("source.uri", "https://{}@h/"),
    ("source.uri", "postgres://u:hun/{}@h"),
    ("source.uri", "postgresql://me:{}@host/db"),
    ("source.uri", "s3://AKIAIOSFODNN7EXAMPLE/{}"),
    ("description", "login with password={}"),
    ("source.password", "{}"),
    ("register.api_key", "{}"),
    ("checks.columns.x.token", "{}"),
    ("features.0.columns.0", "ghp_{}"),
]


@pytest.mark.bad_input
@pytest.mark.parametrize(("place", "text"), SECRETS)
def test_bad_input_B45_a_secret_is_refused_and_never_echoed(small, place, text):
    """B45: refused before anything is stored, by its place alone, also beside other mistakes."""
    (line,) = lines(small, f"{place}={text.format(HIDDEN)}", "train.epochs=3")
    assert line.startswith(f"E_SECRET_INLINE --set {place}: a secret stands here in clear text;")
    with pathlib.Path(small).open() as file:
        data = yaml.safe_load(file)
    *above, last = place.split(".")
    node = data
    for key in above:
        node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
    node[int(last) if isinstance(node, list) else last] = yaml.safe_load(text.format(HIDDEN))
    data["trian"] = 3
    with pathlib.Path(small).open("w") as file:
        yaml.safe_dump(data, file)
    found = "\n".join(lines(small))
    assert "E_SECRET_INLINE " in found
    assert place.split(".")[0] in found
    assert "trian: there is no such key; nearest: train" in found
    for word in (HIDDEN, "hun/", "AKIA"):
        assert word not in found


@pytest.mark.bad_input
def test_bad_input_B45_no_way_into_a_recipe_is_left_out(small, tmp_path):
    """B45: its address, what it extends, an override that a later one replaces, a number, a key."""
    cases = [
        lines(f"https://u:{HIDDEN}@host/r.yaml"),
        lines(small, f"model.token={HIDDEN}", "model={kind: mlp}"),
        lines(small, "source.password=12345678"),
        lines(small, f"'postgres://u:{HIDDEN}@h/db'=3"),
    ]
    child = tmp_path / "child.yaml"
    child.write_text(f"extends: https://u:{HIDDEN}@host/base.yaml\nname: child\n")
    cases.append(lines(str(child)))
    child.write_text(f"name: x\nsource: {{'postgres://u:{HIDDEN}@h/db': 1}}\n")
    cases.append(lines(str(child)))
    for found in cases:
        assert found[0].startswith("E_SECRET_INLINE ")
        assert HIDDEN not in "".join(found)
        assert "12345678" not in "".join(found)


def test_bad_input_B45_a_mistake_in_yaml_does_not_echo_the_line(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("source: {password: hunter2, uri: [}\n")
    (line,) = lines(str(path))
    assert "hunter2" not in line
    assert "(line 1)" in line


@pytest.mark.parametrize(
    "text",
    [
        "tokenizer: x",
        "a reference secret://db",
        "https://host/path?x=1",
        "s3://bucket/key",
        "the next token: small",
        "ssh://git@host/x",
        "http://h:80/x@y",
    ],
)
def test_what_is_no_secret_is_left_alone(small, text):
    assert load_recipe(small, [f"description='{text}'"]).description == text


def test_a_column_may_be_called_anything(small):
    config = load_recipe(small, ["checks.columns.token={type: string}"])
    assert config.checks.columns["token"].type == "string"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("features.²=1", "this is a list of 2 items"),
        ("features." + "9" * 5000 + "=1", "this is a list of 2 items"),
        ("train.max_epochs=0x" + "f" * 9000, "train.max_epochs: this should be a valid integer"),
        ("source={<<: {kind: csv}}", "merging mappings is not allowed"),
        ("source.uri=~nosuchuser/x", None),
        ("train=3", "train: "),
        ("checks=[]", "checks: "),
        ("features=3", "features: "),
        ("source=null", "source: this needs keys"),
        ("target=[]", "target: this needs keys"),
        ("model.hidden.0.x=3", "this is a list of 0 items; set the whole item to append it"),
        ("split={1: 2, 2020-01-01: 3}", "split.1: "),
    ],
)
def test_odd_input_is_a_line_and_never_a_traceback(small, override, expected):
    if expected is None:
        assert load_recipe(small, [override]).source.uri == "~nosuchuser/x"
        return
    assert expected in "\n".join(lines(small, override))


@pytest.mark.parametrize("value", ['"\\ud800"', "0x" + "f" * 9000])
def test_what_is_neither_text_nor_a_number_is_one_line(tmp_path, value):
    path = tmp_path / "r.yaml"
    path.write_text(f"name: x\ndescription: {value}\n")
    assert "this is neither text nor a number" in lines(str(path))[0]


def test_a_name_that_no_file_can_have_is_one_line():
    assert "there is no such recipe or file" in lines("a" * 300)[0]


def test_long_text_is_searched_in_linear_time(small):
    """A quadratic search would take hours, and the time limit of tests ends it."""
    assert len(load_recipe(small, ["description=" + "f" * 200_000]).description) == 200_000


def test_many_keys_are_checked_in_linear_time(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("\n".join(f"k{number}: 1" for number in range(40_000)))
    assert len(lines(str(path))) > 40_000


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

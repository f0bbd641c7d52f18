"""Recipes as data: overrides, extension, mistakes, secrets, the schema."""

import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components.contracts.errors import ConfigError, EnvironmentFault
from flows.pipeline import load_recipe
from flows.recipe_files import names
from tests.flows.recipe_lines import SMALL, lines


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


def test_what_is_inherited_can_be_taken_away(tmp_path):
    child = tmp_path / "child.yaml"
    child.write_text(
        "extends: digits-cnn\nname: child\ntarget: {kind: none}\nobjective: {kind: reconstruction}\n"
        "model: {kind: autoencoder}\ngate: {minimum: null, max_regression: {accuracy: null, mse: 0.1}}\n"
    )
    config = load_recipe(str(child))
    assert (config.gate.minimum, config.gate.max_regression) == ({}, {"mse": 0.1})
    parent = load_recipe("digits-cnn")
    assert parent.gate.minimum
    assert load_recipe("digits-cnn", ["gate.minimum=null"]).gate.minimum == {}
    assert load_recipe("digits-cnn", ["train=null"]).train == type(parent.train)()
    (line,) = lines("digits-cnn", "model=null")
    assert "E_CONFIG model: this key is needed" in line


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

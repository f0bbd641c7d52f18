"""B44 and B45: every mistake with its key, and no secret."""

import pathlib

import pytest
import yaml

from flows.pipeline import load_recipe
from tests.flows.recipe_lines import lines


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
        ("choice", ["train.schedule=one-cicle"], ["train.schedule: there is no such choice; nearest: one-cycle (got 'one-cicle'); allowed: 'one-cycle', 'cosine', 'plateau' or 'constant'"]),
        ("negative", ["train.batch_size=-1"], ["train.batch_size: the value is not allowed (got -1); allowed: at least 1"]),
        ("nan", ["train.learning_rate=.nan"], ["train.learning_rate: this should be a finite number"]),
        ("unit", ["train.batch_size=64 rows"], ["train.batch_size: this should be a valid integer"]),
        ("gate", ["gate.minimum.acuracy=0.5"], ["gate.minimum: classification measures no such thing; nearest: accuracy (got 'acuracy'); allowed: accuracy, log_loss"]),
        ("threshold", ["package.threshold={goal: f1}", "objective={kind: regression}", "target={kind: value, columns: [label]}", "gate=null"], ["package.threshold: this asks for groups or classes that there are none of (got "]),
        ("fairness", ["gate.fairness={demographic_parity_difference: 0.1}"], ["gate.fairness: this asks for groups or classes that there are none of (got "]),
        ("parity", ["package.threshold={goal: parity}"], ["package.threshold: parity is between groups: name their columns in `groups`"]),
        ("list", ["features=3"], ["features: this should be a list (got 3)"]),
        ("kind", ["model.kind=cnnn"], ["model.kind: there is no kind of that name; nearest: cnn (got 'cnnn'); allowed: autoencoder, cnn, composite"]),
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
    ("source.uri", "https://h.blob.core.windows.net/c/x.csv?sv=2020&sig={}"),
    ("source.uri", "https://h/x.csv?key=0123456789{}"),
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
        ("source={<<: {kind: files}}", "merging mappings is not allowed"),
        ("source.uri=~nosuchuser/x", None),
        ("train=3", "train: "),
        ("checks=[]", "checks: "),
        ("features=3", "features: "),
        ("source=null", "source: this key is needed"),
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
    path.write_text("\n".join(f"k{number}: 1" for number in range(10_000)))
    assert len(lines(str(path))) > 10_000

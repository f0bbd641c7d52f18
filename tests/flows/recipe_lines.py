"""A small recipe, and the lines that a wrong one gives."""

import json

import pytest

from components.contracts.errors import ConfigError
from flows import pages
from flows.pipeline import load_recipe

SMALL = """
name: small
source: {kind: files, uri: my.csv}
features: [{kind: number, columns: [age]}, {kind: category, columns: [city]}]
target: {kind: label, column: bought}
model: {kind: mlp}
objective: {kind: classification}
"""


def lines(recipe, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe, overrides)
    assert caught.value.exit_code == 2
    return [error.line() for error in (caught.value, *caught.value.others)]


TINY = """
name: mine
source: {kind: files, uri: table}
features: [{kind: number, columns: [n]}, {kind: category, columns: [c]}]
target: {kind: label, column: label}
model: {kind: mlp, hidden: [4]}
objective: {kind: classification}
"""


def ingested(placement, capsys, mine, *changes):
    """The fingerprint of what `millrace step ingest` makes."""
    pages.step(placement, "ingest", mine, list(changes), [], as_json=True)
    return json.loads(capsys.readouterr().out)["fingerprint"]

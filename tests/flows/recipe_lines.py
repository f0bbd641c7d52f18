"""A small recipe, and the lines that a wrong one gives."""

import pytest

from components.contracts.errors import ConfigError
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

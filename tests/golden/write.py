"""Writes the golden text of every shipped recipe, after a change that is meant."""

from pathlib import Path

import yaml

from flows.pipeline import load_recipe, resolved
from flows.recipe_files import names

for name in names():
    text = resolved(load_recipe(name))
    Path(__file__).with_name(f"{name}.yaml").write_text(yaml.safe_dump(text, sort_keys=False, width=120))

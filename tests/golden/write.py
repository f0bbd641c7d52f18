"""Writes the golden text of every shipped recipe, after a change that is meant."""

from pathlib import Path

import yaml

from flows.pipeline import load_recipe, recipe_names

for name in recipe_names():
    resolved = load_recipe(name).model_dump(mode="json", by_alias=True)
    Path(__file__).with_name(f"{name}.yaml").write_text(yaml.safe_dump(resolved, sort_keys=False, width=120))

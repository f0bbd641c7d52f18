"""What a search found, as a recipe of its own."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from flows import recipe_files
from flows.overrides import override


def write_recipe(recipe: str, changes: Sequence[str], folder: Path, said: str) -> Path:
    """Write `recipe` with `changes` as `<name>-tuned.yaml` into `folder`, with a line that says where it comes from."""
    file = recipe_files.read(recipe_files.find(recipe, folder), folder)
    for one in changes:
        override(file.raw, one)
    if file.folders:
        # It stands in another folder than the one that its relative paths start from.
        recipe_files.placed(file, None)
    raw = {"name": f"{file.raw['name']}-tuned", **{key: one for key, one in file.raw.items() if key not in OWN}}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{raw['name']}.yaml"
    path.write_text(f"# {said}\n" + yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=120))
    return path


OWN = frozenset({"name", "search"})
"""Keys of the recipe that are not the winner's."""

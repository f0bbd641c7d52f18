"""`make recipes`: every shipped recipe over its seeds against what it promises; infra/docs/recipes.md says the result.

`python -m tests.e2e.recipes [--full] [NAME…]`. A recipe whose data are not there is named and left out; naming it makes
that an error. What is promised for a GPU is shown, where there is none, to learn: by the recipe's short run.
"""

import json
import os
import platform
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).with_name("millrace"))
PAGE = ROOT / "infra" / "docs" / "recipes.md"
HEAD = """# Recipes

Written by `make recipes` and `make recipes-full`: the mean over the seeds, on the test part that evaluate reads once.
Choosing (epochs, early stopping) uses a validation part cut from the training part. The floor (`proof.floor`) holds for
that mean; a single run is judged by the recipe's own gate, which leaves room for an unlucky seed. What else they have to
reach is tested by `make e2e`: that a classifier finds all ten digits among those which digits-gan draws, that codes say
more than as many principal components, and that three inputs say more than each of them.

The baseline knows the training targets and no feature. The spread is that of the seeds: the largest less the smallest.
Training is how long one training takes.

| recipe | data | metric | mean | floor | baseline | by seed, from 0 | spread | training | hardware |
|---|---|---|---|---|---|---|---|---|---|
"""
WIDTH = HEAD.splitlines()[-1].count("|")
SHORT_HEAD = """
## Short runs

What a GPU is promised for, on a machine without one: with these changes its validation figure has to rise from epoch to
epoch.

| recipe | changes | metric | by epoch | training | hardware |
|---|---|---|---|---|---|
"""
SHORT_WIDTH = SHORT_HEAD.splitlines()[-1].count("|")
ROW = re.compile(r"^\| ([a-z0-9-]+) \|.*\|$", re.MULTILINE)


def call(*arguments):
    """The command's JSON; its progress goes to this terminal."""
    done = subprocess.run([COMMAND, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    if done.returncode not in {0, 3}:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}")
    return json.loads(done.stdout)


def proved(recipe):
    """The line of one recipe."""
    repeated = call("repeat", recipe["name"], "--json")["repeated"]
    values, value = repeated["seeds"][recipe["metric"]], repeated["mean"][recipe["metric"]]
    return {
        "recipe": recipe["name"],
        "data": recipe["data"],
        "metric": recipe["metric"],
        "value": round(value, 4),
        "floor": recipe["floor"],
        "also": {name: round(repeated["mean"][name], 4) for name in recipe["also"]},
        "pass": value >= recipe["floor"]
        and all(repeated["mean"][name] >= least for name, least in recipe["also"].items()),
        "baseline": round(repeated["baseline"][recipe["metric"]], 4)
        if recipe["metric"] in repeated["baseline"]
        else None,
        "training": round(repeated["train_seconds"], 1),
        "hardware": f"{repeated['device']}: {hardware()}" if repeated["device"] == "cpu" else repeated["device"],
        "seeds": [round(one, 4) for one in values],
        "spread": round(repeated["spread"][recipe["metric"]], 4),
    }


def rising(recipe):
    """The line of a recipe that needs a GPU, from its short run on the CPU."""
    changes = [part for change in recipe["short"] for part in ("--set", change)]
    repeated = call("repeat", recipe["name"], "--seeds", "1", *changes, "--json")["repeated"]
    values = [epoch[f"validation_{recipe['metric']}"] for epoch in repeated["trials"][0]["history"]]
    return {
        "recipe": recipe["name"],
        "short": recipe["short"],
        "metric": recipe["metric"],
        "epochs": [round(one, 4) for one in values],
        "pass": len(values) > 1 and all(one < after for one, after in pairwise(values)),
        "training": round(repeated["train_seconds"], 1),
        "hardware": f"{repeated['device']}: {hardware()}",
    }


def hardware():
    """Cores and name of the processor."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{len(os.sched_getaffinity(0))} × {names[0] if names else platform.machine()}"


def main(arguments):
    full, wanted = "--full" in arguments, [one for one in arguments if one != "--full"]
    recipes = {one["name"]: one for one in call("recipes", "--json")}
    unknown = [one for one in wanted if one not in recipes]
    if unknown:
        sys.exit(f"there is no recipe {', '.join(unknown)}; there are: {', '.join(recipes)}")
    chosen = [recipes[one] for one in wanted] or [one for one in recipes.values() if full or one["quick"]]
    lines = []
    for recipe in chosen:
        lacking = (
            recipe["data"] != "built in" and not (Path(os.environ.get("MILLRACE_DATA", "/")) / recipe["data"]).exists()
        )
        if lacking and wanted:
            sys.exit(f"{recipe['name']} reads {recipe['data']}: give its folder with DATA=<folder>")
        if lacking:
            print(
                f"left out: {recipe['name']} reads {recipe['data']}, give its folder with DATA=<folder>",
                file=sys.stderr,
            )
            continue
        elsewhere = recipe["device"] == "gpu" and not torch.cuda.is_available()
        lines.append(rising(recipe) if elsewhere else proved(recipe))
        print(json.dumps(lines[-1]), flush=True)
        keep(lines[-1:])
    if not all(line["pass"] for line in lines):
        sys.exit("a recipe does not reach its floor")


def keep(lines):
    """Add the lines to the reports, and put them in place of the page's rows of the same recipes."""
    (ROOT / ".reports").mkdir(exist_ok=True)
    with (ROOT / ".reports" / "recipes.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    rows = {name[1]: name[0] for name in ROW.finditer(PAGE.read_text())} if PAGE.is_file() else {}
    # Rows of an older head go with it.
    rows = {name: row for name, row in rows.items() if name != "recipe" and row.count("|") in {WIDTH, SHORT_WIDTH}}
    for line in lines:
        if "short" in line:
            epochs = ", ".join(f"{one:.4f}" for one in line["epochs"])
            cells = [", ".join(line["short"]), line["metric"], epochs, f"{line['training']} s", line["hardware"]]
            rows[line["recipe"]] = f"| {' | '.join(map(str, [line['recipe'], *cells]))} |"
            continue
        cells = [line[name] for name in ("recipe", "data", "metric", "value", "floor", "baseline")]
        cells[-2:] = [line["floor"] or "–", "–" if line["baseline"] is None else line["baseline"] + 0.0]
        cells[2] += "".join(f" ({name} {value})" for name, value in line["also"].items())
        seeds = ", ".join(f"{one:.4f}" for one in line["seeds"])
        cells += [seeds, line["spread"], f"{line['training']} s", line["hardware"]]
        rows[line["recipe"]] = f"| {' | '.join(map(str, cells))} |"
    tables = [
        [rows[name] + "\n" for name in sorted(rows) if rows[name].count("|") == width] for width in (WIDTH, SHORT_WIDTH)
    ]
    PAGE.write_text("".join([HEAD, *tables[0], *([SHORT_HEAD, *tables[1]] if tables[1] else [])]))


if __name__ == "__main__":
    main(sys.argv[1:])

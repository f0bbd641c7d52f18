"""Weights that were learnt elsewhere: where they are found, which are taken over, and when and how fast they learn on.

Here is the supervisor's side; the child's is starting.py.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from components.adapters.store import digest_file
from components.context import RunContext
from components.contracts.config import StepConfig, placed
from components.contracts.errors import ConfigError, DataError

MODEL = re.compile(r"^models:/(?P<name>[^/@]+)(/(?P<version>\d+)|@(?P<alias>[^/@]+))$")


class Pretrained(StepConfig):
    """What training begins with; names of weights are those in the other model's file."""

    weights: str = placed(
        description="a .safetensors file, a folder with weights.safetensors, or a registered model: "
        "models:/name@champion, models:/name/3"
    )
    parts: tuple[str, ...] = Field(
        (), description="beginnings of the names that are taken over; empty: all whose name and shape are here too"
    )
    freeze: dict[str, int] = Field({}, description="beginning of a name to the epochs in which it does not learn")
    rates: dict[str, float] = Field(
        {}, description="beginning of a name to its share of the step size; the longest holds"
    )


@contextmanager
def located(config: Pretrained | None, ctx: RunContext) -> Iterator[tuple[Path | None, dict[str, str]]]:
    """The file, while the block lasts, and its digest as an input of the step; neither where nothing is asked for.

    Raises:
        ConfigError: E_CONFIG, there is none.
        DataError: E_CKPT_UNTRUSTED, it is no safetensors file.
    """
    if config is None:
        yield None, {}
        return
    with tempfile.TemporaryDirectory(prefix="millrace-pretrained-") as scratch:
        path = _found(config.weights, Path(scratch), ctx)
        _check_format(path)
        yield path, {"pretrained": digest_file(path)}


def _found(weights: str, scratch: Path, ctx: RunContext) -> Path:
    model = MODEL.match(weights)
    place = _model(model["name"], model["version"], model["alias"], scratch, ctx) if model else Path(weights)
    found = [place] if place.is_file() else sorted(place.rglob("weights.safetensors")) if place.is_dir() else []
    if len(found) == 1:
        return found[0]
    raise ConfigError(
        "E_CONFIG",
        f"{len(found)} files of weights are there" if found else "no weights are there",
        place="train.pretrained.weights",
        value=weights,
        allowed="a .safetensors file, a folder with one weights.safetensors, models:/name@alias, models:/name/version",
        action="correct it",
    )


def _check_format(path: Path) -> None:
    """Only what begins as safetensors does is read: its header's length, and JSON. A pickle could run anything."""
    with path.open("rb") as file:
        length, header = int.from_bytes(file.read(8), "little"), file.read(1)
    if header == b"{" and length <= path.stat().st_size:
        return
    raise DataError(
        "E_CKPT_UNTRUSTED",
        "it is no safetensors file; other files of weights can run code when they are read",
        place="train.pretrained.weights",
        value=path.name,
        allowed="a .safetensors file",
        action="where you trust it, convert it: safetensors.torch.save_file(torch.load(old, weights_only=True), new)",
    )


def _model(name: str, version: str | None, alias: str | None, scratch: Path, ctx: RunContext) -> Path:
    """The files of a registered model; a path that is not where there is none."""
    number = version or ctx.tracker.aliased(name, str(alias))
    try:
        found: Any = ctx.tracker.download(name, number, scratch) if number else scratch / "none"
    except LookupError:
        return scratch / "none"
    return Path(found)

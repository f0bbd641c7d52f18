"""Training without gradients: passes over the training rows, a Dask task for each part of the dataset.

A model of this kind (models/passing.py) sums up batches; sums are small, so that memory hangs on the model and on a
batch and not on the rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from components.adapters.dataset_store import Loader
from components.adapters.stores import open_store
from components.context import RunContext
from components.contracts.artifacts import Dataset, Part
from components.contracts.errors import ConfigError
from components.contracts.placement import Placement
from components.features.feature import tensor_of
from components.features.fitted import load_feature
from components.features.shards import lookups_of, shard_files
from components.models.passing import State, Sums, added
from components.statistics.keys import TRAIN, VALIDATION

SAMPLE = 8192
"""Rows that a model begins with."""
BATCH = 8192
"""Rows that are summed up at a time."""
Told = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class Look:
    """One way to go through the rows of a split: all of them, or a share that `seed` and `turn` draw."""

    dataset: Dataset
    split: str
    seed: int
    turn: int = 0
    rows: int = 0

    def share(self, part: Part) -> int:
        """How many rows of a part are looked at; 0 are all of them."""
        return ceil(self.rows * part.rows / max(sum(one.rows for one in self.dataset.parts), 1)) if self.rows else 0


def fit(config: Any, dataset: Dataset, ctx: RunContext, folder: Path, told: Told) -> dict[str, float]:
    """Write the weights; the metrics of the last pass. `told(pass, metrics)` after each.

    Raises:
        ConfigError: E_CONFIG, the model does not fit the data; E_TRAINING, numbers that are none.
    """
    from safetensors.numpy import save_file

    model, settings = config.model, config.settings
    outputs = config.objective.outputs(dataset.outputs, dataset.inputs)
    model.build(dataset.inputs, outputs)
    seed = settings.seed
    drawn = Look(dataset=dataset, split=TRAIN, seed=seed, rows=SAMPLE)
    samples = _mapped(partial(_sampled, ctx.placement, drawn), dataset, ctx)
    state = model.begin(_joined([one for one in samples if one]), dataset.inputs, outputs, seed)
    metrics: dict[str, float] = {}
    for turn in range(1, settings.max_epochs + 1):
        looked = Look(dataset=dataset, split=TRAIN, seed=seed, turn=turn, rows=model.rows_a_pass)
        rests = hasattr(model, "rests") and model.rests(state)
        state, last = model.step(state, {} if rests else _sums(model, looked, state, ctx))
        held = Look(dataset=dataset, split=VALIDATION, seed=seed)
        metrics = {"validation_loss": _loss(_sums(model, held, state, ctx))}
        if not all(map(np.isfinite, metrics.values())):
            raise ConfigError(
                "E_TRAINING",
                f"the loss is no number after pass {turn}",
                place="features",
                action="look for infinite or huge numbers in the inputs (checks: minimum, maximum)",
            )
        told(turn, metrics)
        if last:
            break
    save_file(
        {name: np.ascontiguousarray(one) for name, one in model.weights(state).items()}, folder / "weights.safetensors"
    )
    return metrics


def _loss(sums: Sums) -> float:
    return float(np.min(sums["loss"]) / max(float(sums["rows"]), 1.0))


def _mapped(work: Callable[[Part], Any], dataset: Dataset, ctx: RunContext) -> list[Any]:
    rows = sum(part.rows for part in dataset.parts)
    return list(ctx.compute.map(work, list(dataset.parts), rows * 100, native=True))


def _sums(model: Any, look: Look, state: State, ctx: RunContext) -> Sums:
    shown = model.shown(state) if hasattr(model, "shown") else state
    found = _mapped(partial(_looked, ctx.placement, look, model, shown), look.dataset, ctx)
    total: Sums = reduce(added, [one for one in found if one])
    return total


def _looked(placement: Placement, look: Look, model: Any, state: State, part: Part) -> Sums:
    """What one part says; nothing where it has no such rows."""
    found: Sums = {}
    for inputs, targets in _batches(placement, look, part):
        sums = model.look(state, inputs, inputs | targets)
        found = added(found, sums) if found else sums
    return found


def _sampled(placement: Placement, look: Look, part: Part) -> dict[str, Any]:
    """Inputs of numbers of some rows of one part, as arrays; texts are as long as each batch's longest."""
    return _joined([
        {name: one.numpy() for name, one in inputs.items() if one.is_floating_point()}
        for inputs, _ in _batches(placement, look, part)
    ])


def _joined(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    import torch

    joined = {name: np.concatenate([np.asarray(one[name]) for one in pieces]) for name in (pieces[0] if pieces else ())}
    return {name: torch.from_numpy(one) for name, one in joined.items()}


def _batches(placement: Placement, look: Look, part: Part) -> Any:
    """Inputs and target of each batch, as the model sees them."""
    import torch

    store, dataset = open_store(placement), look.dataset
    files = shard_files(dataset.model_copy(update={"parts": (part,)}), store, look.split)
    if not files:
        return
    fitted = (*dataset.features, dataset.target)
    loaded = [(load_feature(one), one.state) for one in fitted]
    share = look.share(part)
    # Rows of a share are drawn for this turn and part, and looked at in batches that are as large as can be.
    size = ceil(share / ceil(share / BATCH)) if share else BATCH
    loader = Loader(files, size, lookups=lookups_of(files, fitted), seed=look.seed if share else None)
    with torch.inference_mode():
        for batch in islice(loader.epoch(look.turn), ceil(share / size) if share else None):
            tensors = {feature.name: feature.apply(tensor_of(batch[feature.name]), state) for feature, state in loaded}
            target = dataset.target.config["name"]
            yield {name: one for name, one in tensors.items() if name != target}, {target: tensors[target]}

"""What the answers hang on: over many test rows, and for some; and whether that is so when it is taken away."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.contracts.findings import Explanation
from components.evaluate.permuted import losses
from components.explanations.attribution import UNKNOWN, Explained
from components.explanations.portrait import gallery, highlighted
from components.explanations.single import EXPLAINED, looked_at
from components.explanations.units import Seen
from components.statistics.bootstrap import interval

TABLE_ROWS, LARGE_ROWS = 500, 48
"""Test rows that are explained: of tables, and of pictures and texts, of which each costs more."""
REMOVED = 0.2
"""Of what a row consists of, the share that is taken away to see what that does."""
DRAWS = 5
SHOWN = 20


def explained(
    predictor: Any, rows: pa.Table, truth: NDArray[Any], samples: int
) -> tuple[Explanation | None, list[dict[str, Any]]]:
    """Over the raw `rows` and for `samples` of them; None where an answer is no class and no number."""
    if predictor.objective.kind not in EXPLAINED or not rows.num_rows:
        return None, []
    specs = [one.spec(known.state) for one, known in zip(predictor.features, predictor.fitted, strict=True)]
    large = any(spec.sequence or len(spec.shape) > 1 for spec in specs)
    some = np.unique(np.linspace(0, rows.num_rows - 1, LARGE_ROWS if large else TABLE_ROWS).astype(int))
    lost, shown = losses(predictor, rows, truth), rows.take(some)
    network, seen = looked_at(predictor, shown)
    top, random = _drops(network, seen)
    ranking, figures = _ranked(seen, shown, lost)
    figures += [*highlighted(seen, samples), *gallery(network, seen, samples)]
    if not large:
        figures.append(_single(seen, shown, samples))
    figures.append(_faithful(top, random))
    gain = interval(top - random)
    return Explanation(ranking=ranking, top=float(top.mean()), random=float(random.mean()), gain=gain), figures


def _drops(network: Explained, seen: Seen) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far each row's answer moves without what speaks most for it, and without as much drawn by chance."""
    weights, there = (np.concatenate([getattr(one, name) for one in seen.units], 1) for name in ("weights", "there"))
    number = seen.outputs.shape[1] == 1
    order = np.where(there, np.abs(weights) if number else weights, -np.inf)
    least = np.maximum((REMOVED * there.sum(1)).round().astype(int), 1)

    def without(order: NDArray[Any]) -> NDArray[np.float64]:
        rank = np.argsort(np.argsort(-order, axis=1, kind="stable"), axis=1)
        found = network.outputs(_taken(seen, (rank < least[:, None]) & there))
        if number:
            return np.asarray(np.abs(found - seen.outputs)[:, 0], np.float64)
        return np.asarray(_share(seen.outputs, seen.chosen) - _share(found, seen.chosen), np.float64)

    draw = np.random.Generator(np.random.PCG64(0))
    by_chance = [without(np.where(there, draw.random(there.shape), -np.inf)) for _ in range(DRAWS)]
    return without(order), np.mean(by_chance, axis=0)


def _share(outputs: NDArray[np.float32], chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    raised = np.exp(outputs - outputs.max(1, keepdims=True))
    found: NDArray[np.float32] = (raised / raised.sum(1, keepdims=True))[np.arange(len(chosen)), chosen]
    return found


def _taken(seen: Seen, away: NDArray[np.bool_]) -> dict[str, Any]:
    """The tensors without these units: numbers at their mean, values and words unknown."""
    import torch

    found, start = dict(seen.tensors), 0
    for one in seen.units:
        width = one.weights.shape[1]
        mask, start = torch.from_numpy(away[:, start : start + width]), start + width
        values = seen.tensors[one.spec.name]
        if one.spec.sequence:
            found[one.spec.name] = values.masked_fill(mask, UNKNOWN)
        else:
            whole = mask.reshape(len(values), 1, *values.shape[2:]) if values.ndim > 2 else mask
            found[one.spec.name] = values.masked_fill(whole, 0)
    return found


def _ranked(seen: Seen, rows: pa.Table, lost: dict[str, str]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Each column's share of what speaks for and against answers, in order; the figure that shows it."""
    added: dict[str, NDArray[np.float64]] = {}
    direction: dict[str, str] = {}
    for one in seen.units:
        values = seen.tensors[one.spec.name].numpy()
        places: dict[str, list[int]] = {}
        for at, name in enumerate(one.names):
            places.setdefault(name, []).append(at)
        for name, own in places.items():
            added[name] = added.get(name, 0) + (one.weights[:, own] * one.there[:, own]).sum(1)
            if len(own) == 1 and not one.spec.classes and values.ndim == 2:
                direction[name] = _direction(values[:, own[0]], seen.sign * added[name])
    total = sum(float(np.abs(one).mean()) for one in added.values()) or 1.0
    shares = {name: float(np.abs(one).mean()) / total for name, one in added.items()}
    ranking = dict(sorted(shares.items(), key=lambda one: -one[1])[:SHOWN])
    if len(added) == 1 and not lost:
        return ranking, []
    cells = []
    for name, share in ranking.items():
        speaks = direction.get(name) or _values(rows, name, seen.sign * added[name])
        cells.append([name, f"{100 * share:.1f} %", speaks, lost.get(name, "")])
    cells += [[name, "", "", known] for name, known in lost.items() if name not in ranking]
    note = (
        "Share: of the integrated gradients over test rows; of several numbers their mean is explained. Lost without "
        "it: how much worse the first metric is when the column's cells change places among the rows, with its 95 % "
        "interval."
    )
    head = ("column", "share", f"speaks {seen.towards}", "lost without it")
    return ranking, [{"kind": "table", "title": "What the answers hang on", "head": head, "rows": cells, "note": note}]


def _direction(values: NDArray[Any], weights: NDArray[Any]) -> str:
    if values.std() == 0 or weights.std() == 0:
        return ""
    along = float(np.corrcoef(values, weights)[0, 1])
    return "+ the higher" if along > 0.3 else "− the lower" if along < -0.3 else "now and then"


def _values(rows: pa.Table, name: str, weights: NDArray[Any]) -> str:
    """Of a column of values, the one that speaks most for it and the one that speaks most against it."""
    if name not in rows.column_names or pa.types.is_nested(rows[name].type) or pa.types.is_binary(rows[name].type):
        return ""
    cells = np.array(["missing" if one is None else str(one) for one in rows[name].to_pylist()], object)
    means = {one: float(weights[cells == one].mean()) for one in set(cells) if (cells == one).sum() >= 5}
    if len(means) < 2:
        return ""
    most, least = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    return f"+ {most[:24]}, − {least[:24]}"


def _faithful(top: NDArray[np.float64], random: NDArray[np.float64]) -> dict[str, Any]:
    gain = interval(top - random)
    said = "It does" if gain.low > 0 else "It does not, beyond doubt: do not trust the figures above"
    return {
        "kind": "table",
        "title": "Whether this can be trusted",
        "head": ("taken away from each row", "the answer moves by"),
        "rows": [
            [f"the {100 * REMOVED:.0f} % that speak most for it", f"{top.mean():.4f}"],
            [f"{100 * REMOVED:.0f} % drawn by chance", f"{random.mean():.4f}"],
            ["difference, 95 % interval", f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"],
        ],
        "note": f"Taking away what is said to matter has to hurt more than taking away anything. {said}.",
    }


def _single(seen: Seen, rows: pa.Table, samples: int) -> dict[str, Any]:
    """Of some rows, the cells that speak most for and against their answer."""
    names = [name for one in seen.units for name in one.names]
    weights = np.concatenate([one.weights for one in seen.units], axis=1)
    lines = []
    for row in seen.some(samples):
        said = []
        for at in np.argsort(-np.abs(weights[row]))[:4]:
            cell = rows[names[at]][int(row)].as_py() if names[at] in rows.column_names else None
            said.append(f"{names[at]}{'' if cell is None else f' = {str(cell)[:16]}'} {weights[row, at]:+.2f}")
        lines.append([seen.answer(row), *said, *[""] * (4 - len(said))])
    return {"kind": "table", "title": "Single answers", "head": ("answer", "hangs most on", "", "", ""), "rows": lines}

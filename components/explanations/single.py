"""Rows with what speaks for their answers; and one of them as data for whoever asked it."""

from typing import Any

import numpy as np
import pyarrow as pa

from components.explanations.attribution import Explained
from components.explanations.portrait import gallery
from components.explanations.units import Seen, Units
from components.objectives.decision import decided
from components.reports.figures import laid_out

EXPLAINED = ("classification", "regression")
"""Objectives whose answers are classes or numbers."""
WORDS = 500
"""Of a text, the first ones are told."""


def looked_at(predictor: Any, rows: pa.Table, network: Any = None) -> tuple[Explained, Seen]:
    """What explains the answers to raw `rows`, and these answers with their attributions.

    `network` stands in for the predictor's own, whose layers others are using.
    """
    specs = [one.spec(known.state) for one, known in zip(predictor.features, predictor.fitted, strict=True)]
    tensors, numbers = predictor.tensors(rows), predictor.objective.kind == "regression"
    explains = Explained(network or predictor.network, specs, numbers=numbers)
    outputs = explains.outputs(tensors)
    chosen = np.zeros(len(outputs), np.int64) if numbers else decided(predictor.predict(rows).answers)
    return explains, Seen(predictor, tensors, outputs, chosen, explains.gradients(tensors, chosen))


def told(explains: Explained, seen: Seen, rows: pa.Table) -> dict[str, Any]:
    """Why the first row is answered so, as JSON-able data.

    `columns`: the cells that count, weightiest first; `words` of each text, in their order; `pictures` as addresses of
    images. A weight above zero speaks for the answer (of two classes, for the second: see `towards`).
    """
    found: dict[str, Any] = {"towards": seen.towards, "columns": [], "words": [], "pictures": []}
    for one, known in zip(seen.units, seen.predictor.fitted, strict=True):
        vocabulary = known.state.get("tokenizer", {}).get("vocab")
        if one.spec.sequence and vocabulary is not None:
            found["words"].append({"name": one.spec.name, "words": _words(seen, one, vocabulary)})
        elif len(one.spec.shape) == 1 and not one.spec.sequence:
            found["columns"] += _columns(seen, one, rows)
    found["columns"].sort(key=lambda cell: -abs(cell["weight"]))
    for figure in gallery(explains, seen, 1)[:1]:
        drawn = laid_out(figure)
        (row,) = drawn["rows"]
        found["pictures"] += [
            {"name": name, "source": source} for name, source in zip(figure["head"], row, strict=True)
        ]
        found["pictures"] = [one for one in found["pictures"] if one["name"] != "answer"]
    return found


def _columns(seen: Seen, one: Units, rows: pa.Table) -> list[dict[str, Any]]:
    weights: dict[str, float] = {}
    for name, weight in zip(one.names, seen.sign[0] * one.weights[0], strict=True):
        weights[name] = weights.get(name, 0.0) + float(weight)
    cells = {name: rows[name][0].as_py() if name in rows.column_names else None for name in weights}
    return [{"name": name, "value": str(cells[name]), "weight": weight} for name, weight in weights.items()]


def _words(seen: Seen, one: Units, vocabulary: dict[str, int]) -> list[list[Any]]:
    words = {number: word for word, number in vocabulary.items()}
    values = seen.tensors[one.spec.name].numpy()[0]
    places = np.flatnonzero(one.there[0])[:WORDS]
    return [[words[int(values[at])], float(seen.sign[0] * one.weights[0, at])] for at in places]

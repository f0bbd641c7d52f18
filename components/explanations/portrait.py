"""Single answers as a person looks at them: words on their colours, heat maps beside pictures."""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.explanations.attribution import Explained
from components.explanations.units import Seen

WORDS, LEAST = 300, 5
"""Of a text, the first ones are shown; a word has to be seen as often to be put in order."""
COMMON = 12


def highlighted(seen: Seen, samples: int) -> list[dict[str, Any]]:
    """Of each text: the words that speak most for and against over all rows, and some rows word by word."""
    found: list[dict[str, Any]] = []
    for one, known in zip(seen.units, seen.predictor.fitted, strict=True):
        vocabulary = known.state.get("tokenizer", {}).get("vocab")
        if not one.spec.sequence or vocabulary is None:
            continue
        words = {number: word for word, number in vocabulary.items()}
        values = seen.tensors[one.spec.name].numpy()
        sums: dict[int, list[float]] = defaultdict(list)
        for row, place in zip(*np.nonzero(one.there), strict=True):
            sums[int(values[row, place])].append(float(seen.sign[row] * one.weights[row, place]))
        means = sorted((float(np.mean(each)), number) for number, each in sums.items() if len(each) >= LEAST)
        pairs = zip(means[::-1][:COMMON], means[:COMMON], strict=True)
        found.append({
            "kind": "table",
            "title": f"Words of {one.spec.name}",
            "head": (f"speaks {seen.towards}", "", "speaks against it", ""),
            "rows": [[words[best[1]], f"{best[0]:+.3f}", words[worst[1]], f"{worst[0]:+.3f}"] for best, worst in pairs],
        })
        lines = []
        for row in seen.some(samples):
            most = float(np.abs(one.weights[row]).max()) or 1.0
            places = np.flatnonzero(one.there[row])[:WORDS]
            cells = [[words[int(values[row, at])], round(float(one.weights[row, at]) / most, 2)] for at in places]
            lines.append({"answer": seen.answer(row), "words": cells})
        found.append({"kind": "words", "title": f"Single answers by {one.spec.name}", "texts": lines})
    return found


def gallery(network: Explained, seen: Seen, samples: int) -> list[dict[str, Any]]:
    """Of each picture: what speaks for the answer by three methods, and over all rows."""
    found: list[dict[str, Any]] = []
    for spec in seen.specs:
        if len(spec.shape) != 3 or spec.shape[0] not in {1, 3}:
            continue
        some, given = seen.some(samples), seen.given[spec.name]
        few = {name: values[some] for name, values in seen.tensors.items()}
        side = max(round(min(spec.shape[1:]) / 8), 2)
        occluded = network.occluded(few, spec.name, seen.chosen[some], side).sum(1)
        cam = network.grad_cam(few, spec.name, seen.chosen[some])
        shades = few[spec.name].numpy()
        rows = []
        for at, row in enumerate(some):
            pictures = [_picture(shades[at]), _heat(given[row].sum(0)), _heat(occluded[at])]
            rows.append([seen.answer(row), *pictures, *([_heat(cam[at])] if cam is not None else [])])
        heads = ["answer", "picture", "integrated gradients", "occlusion", *(["Grad-CAM"] if cam is not None else [])]
        title = "Single answers: red speaks for them, blue against"
        found.append({"kind": "gallery", "title": title, "head": heads, "rows": rows})
        rows = [["mean", _heat(np.abs(given).sum(1).mean(0))]]
        head = ["", "integrated gradients"]
        found.append({"kind": "gallery", "title": "Where it looks over all rows", "head": head, "rows": rows})
    return found


def _picture(values: NDArray[np.float32]) -> list[Any]:
    """float32[channels, height, width] as rows of shades from 0 to 255."""
    low, high = float(values.min()), float(values.max())
    scaled = 255 * (values - low) / ((high - low) or 1)
    shades: list[Any] = scaled.transpose(1, 2, 0).astype(np.uint8).tolist()
    return shades


def _heat(values: NDArray[np.float32]) -> list[Any]:
    """float[height, width] as rows of colours: red above zero, blue below, white at it."""
    most = float(np.quantile(np.abs(values), 0.99)) or 1.0
    share = np.clip(values / most, -1, 1)
    red, blue = 255 * (1 + np.minimum(share, 0)), 255 * (1 - np.maximum(share, 0))
    colours: list[Any] = np.stack([red, np.minimum(red, blue), blue], axis=-1).astype(np.uint8).tolist()
    return colours

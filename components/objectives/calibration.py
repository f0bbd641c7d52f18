"""How far a probability can be trusted, and what each threshold on it gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""As in Guo 2017, On Calibration of Modern Neural Networks."""
LEAST = 5
"""Answers of about one confidence, for their share of right ones to be drawn."""
POINTS = 200
"""A curve of more points looks the same."""
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def confidence_bins(confidence: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which of equal bins each lies in."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def calibration_error(
    confidence: NDArray[np.float32], right: NDArray[np.bool_]
) -> Callable[[NDArray[np.float64]], float]:
    """The expected calibration error over equal bins of confidence, as a function of the rows' weights.

    0: of the answers of which the model is 80 % sure, 80 % are right.
    """
    bins = confidence_bins(confidence)
    off: NDArray[np.float64] = right - confidence.astype(np.float64)

    def measured(weights: NDArray[np.float64]) -> float:
        return float(np.abs(np.bincount(bins, weights * off, BINS)).sum() / weights.sum())

    return measured


def reliability(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> dict[str, Any]:
    """Figure: of the answers of about one confidence, the share that is right."""
    bins = confidence_bins(confidence)
    rows = np.bincount(bins, minlength=BINS)
    there = rows >= min(LEAST, rows.max())
    sure, true = (np.bincount(bins, one, BINS)[there] / rows[there] for one in (confidence, right))
    return {
        "kind": "curves",
        "title": "Reliability",
        "names": ("confidence", "share that is right"),
        "curves": {"the model": list(zip(sure.tolist(), true.tolist(), strict=True))},
        "line": [(0.0, 0.0), (1.0, 1.0)],
        "note": "On the dashed line confidence says how often the model is right; below it, it is too sure. "
        f"Fewer than {LEAST} answers of about one confidence are not drawn.",
    }


def threshold_figures(score: NDArray[np.float32], positive: NDArray[np.bool_], name: str) -> list[dict[str, Any]]:
    """Figures of two classes: the ROC and the precision-recall curve, and what some thresholds give."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.diff(score[order]) != 0, True)
    found = np.cumsum(positive[order])[ends]
    named = np.flatnonzero(ends) + 1
    wrong = named - found
    recall, out = found / positive.sum(), wrong / (~positive).sum()
    precision = found / named
    some = np.unique(np.linspace(0, len(named) - 1, POINTS).astype(int))
    shares = len(positive)
    rows = []
    for threshold in THRESHOLDS:
        above = score >= threshold
        hit = int((above & positive).sum())
        sure, seen = hit / max(int(above.sum()), 1), hit / int(positive.sum())
        accuracy = float((above == positive).mean())
        both = 2 * sure * seen / (sure + seen) if hit else 0.0
        rows.append([f"{threshold:g}", *(f"{one:.4f}" for one in (sure, seen, both, accuracy, above.sum() / shares))])
    return [
        {
            "kind": "curves",
            "title": "ROC curve",
            "names": (f"share of the others called {name}", f"share of {name} found"),
            "curves": {"the model": [(0.0, 0.0), *zip(out[some].tolist(), recall[some].tolist(), strict=True)]},
            "line": [(0.0, 0.0), (1.0, 1.0)],
        },
        {
            "kind": "curves",
            "title": "Precision and recall",
            "names": (f"share of {name} found", "precision"),
            "curves": {"the model": list(zip(recall[some].tolist(), precision[some].tolist(), strict=True))},
            "line": [(0.0, float(positive.mean())), (1.0, float(positive.mean()))],
        },
        {
            "kind": "table",
            "title": f"What a threshold on the probability of {name} gives",
            "head": ("threshold", "precision", "recall", "f1", "accuracy", f"called {name}"),
            "rows": rows,
        },
    ]

"""Rows that lie far from the others, by an isolation forest (Liu, Ting and Zhou 2008) that any device walks through.

scikit-learn grows it on a sample of the training rows; what is kept are its nodes, as arrays: a request needs neither
that library nor the sample.
"""

from base64 import b64decode, b64encode
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.statistics.keys import Words, mix, row_keys
from components.statistics.samples import EVERY, MOST, smallest

TREES = 64
SEED = 0
NODES = ("feature", "threshold", "left", "right", "length")
"""Of a node: what it compares with what, where to go on, and the length of a path that ends there (of a leaf)."""

Values = NDArray[np.float64]


def partial_of(values: Values) -> dict[str, Any]:
    """A sample of one partition's training rows, float64[rows, columns]: those whose lots are smallest."""
    names = [str(at) for at in range(values.shape[1])]
    keys = _lots(row_keys(pa.table(dict(zip(names, np.ascontiguousarray(values.T), strict=True)))))
    rows, cut = smallest(keys)
    sample = values[rows]
    return {"keys": keys[rows].tolist(), "rows": np.where(np.isnan(sample), None, sample).tolist(), "cut": cut}  # type: ignore[call-overload]


def _lots(keys: Words) -> Words:
    """A lot for each row: equal rows draw one each, here and in other partitions."""
    order = np.argsort(keys, kind="stable")
    found, at = keys[order], np.arange(len(keys))
    first = np.maximum.accumulate(np.where(np.append(True, found[1:] != found[:-1])[: len(found)], at, 0))
    lots = np.empty_like(keys)
    lots[order] = mix(found ^ mix((at - first).astype(np.uint64) + keys.sum(dtype=np.uint64)))
    return lots


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two samples as one."""
    keys = np.array([*first["keys"], *second["keys"]], np.uint64)
    rows = [*first["rows"], *second["rows"]]
    cut = min(first["cut"], second["cut"])
    below = np.flatnonzero(keys < np.uint64(cut)) if cut < EVERY else np.arange(len(keys))
    chosen, less = smallest(keys[below], MOST)
    kept = below[chosen]
    return {"keys": keys[kept].tolist(), "rows": [rows[at] for at in kept], "cut": min(cut, less)}


def grown(partial: dict[str, Any], mean: Values, scale: Values, share: float) -> dict[str, Any]:
    """The state: the forest over standardised rows, the length of path below which the `share` of them lies.

    And between which values the others lie, `low` and `high` of each column.
    """
    if not partial["rows"]:
        return {}
    import torch
    from sklearn.ensemble import IsolationForest

    # The order of the sample hangs on how the data lay in partitions.
    rows = np.array(partial["rows"], np.float64)[np.argsort(np.array(partial["keys"], np.uint64), kind="stable")]
    sample = np.nan_to_num((rows - mean) / scale).astype(np.float32)
    trees = [one.tree_ for one in IsolationForest(n_estimators=TREES, random_state=SEED).fit(sample).estimators_]
    nodes = np.zeros((len(NODES), TREES, max(tree.node_count for tree in trees)))
    for number, tree in enumerate(trees):
        here = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        length = _depths(tree) + _expected(tree.n_node_samples)
        children = (np.where(leaf, here, side) for side in (tree.children_left, tree.children_right))
        nodes[:, number, : tree.node_count] = np.stack([
            np.maximum(tree.feature, 0), tree.threshold, *children, np.where(leaf, length, 0.0)
        ])  # fmt: skip
    steps = max(tree.max_depth for tree in trees)
    state = {"shape": list(nodes.shape), "nodes": b64encode(nodes.tobytes()).decode(), "steps": steps}
    found = lengths(torch.from_numpy(sample), state).numpy()
    bound = float(np.quantile(found, share))
    kept = sample[found >= bound]
    return {"forest": state | {"bound": bound}, "low": kept.min(axis=0).tolist(), "high": kept.max(axis=0).tolist()}


def is_far(standard: Any, state: dict[str, Any]) -> Any:
    """bool[rows, 1]: whether the forest isolates a standardised row, which has no missing numbers, early."""
    forest = state.get("forest")
    if forest is None:
        return standard.new_zeros((len(standard), 1)) > 0
    return (lengths(standard, forest) < forest["bound"]).unsqueeze(1)


def lengths(rows: Any, forest: dict[str, Any]) -> Any:
    """float64[rows]: the mean length of the rows' paths."""
    import torch

    kept = np.frombuffer(bytearray(b64decode(forest["nodes"]))).reshape(forest["shape"])
    feature, threshold, left, right, length = torch.from_numpy(kept).to(rows.device)
    tree = torch.arange(feature.shape[0], device=rows.device)
    at = torch.zeros((len(rows), len(tree)), dtype=torch.long, device=rows.device)
    for _ in range(forest["steps"]):
        value = rows.gather(1, feature[tree, at].long())
        at = torch.where(value <= threshold[tree, at], left[tree, at], right[tree, at]).long()
    return length[tree, at].mean(1)


def _depths(tree: Any) -> Values:
    """How many edges lie above each node; a node's children come after it."""
    found = np.zeros(tree.node_count)
    for node in np.flatnonzero(tree.children_left >= 0):
        found[[tree.children_left[node], tree.children_right[node]]] = found[node] + 1
    return found


def _expected(rows: NDArray[np.int64]) -> Values:
    """The mean length of a path that would set one of so many rows apart (equation 1 of the paper)."""
    many = np.maximum(rows, 3).astype(np.float64)
    found = 2 * (np.log(many - 1) + np.euler_gamma) - 2 * (many - 1) / many
    return np.where(rows > 2, found, np.where(rows == 2, 1.0, 0.0))

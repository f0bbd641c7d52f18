"""What is looked at beside the metrics: simpler models, harmed rows, what answers hang on, how training went."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.context import RunContext
from components.contracts.artifacts import Dataset
from components.contracts.spec import OWN_COLUMNS
from components.evaluate.explain import explained
from components.evaluate.peers import KERNEL_ROWS, TRAIN_ROWS, Found
from components.evaluate.robustness import ROWS, robustness_of
from components.explanations.attribution import check_captum
from components.explanations.single import EXPLAINED
from components.packages import own_errors
from components.raw_rows import accepted, sampled, truth_of
from components.statistics.keys import TEST

SHOWN = 4
"""Metrics of a table."""


@dataclass(frozen=True)
class Studies:
    """Fields of the report, and its figures."""

    findings: dict[str, Any]
    figures: list[dict[str, Any]]


def studied(predictor: Any, dataset: Dataset, config: Any, ctx: RunContext, peers_of: Callable[[], Found]) -> Studies:
    """What `config` asks for, on samples of the rows; `peers_of` waits for what simpler models reach."""
    findings: dict[str, Any] = {}
    figures: list[dict[str, Any]] = []

    def tell(what: str, done: int, total: int) -> None:
        ctx.progress.advanced("evaluate", done, total, "looked at", what)

    with own_errors("correct the data, or run with --rerun package"):
        if config.explain and predictor.objective.kind in EXPLAINED:
            check_captum()
        rows, _ = accepted(predictor, sampled(dataset, ctx.store, TEST, ROWS))
        truth, table = truth_of(predictor, rows), rows.drop(list(OWN_COLUMNS))
        if config.robustness:
            tell("harmed rows", 0, 1)
            harmed = dict(robustness_of(predictor, table, truth))
            findings["harmed"] = harmed
            figures += _table("Harmed rows", "test rows", harmed, f"Of {rows.num_rows:,} test rows.")
        if config.explain:
            tell("what answers hang on", 0, 1)
            findings["explanation"], drawn = explained(predictor, table, truth, config.explain)
            figures += drawn
        if config.peers:
            tell("simpler models", 0, 1)
            peers, many = peers_of()
            findings |= {"peers": peers, "peer_rows": many}
            learnt = f"at most {TRAIN_ROWS:,} training rows, the support vector machine from {KERNEL_ROWS:,}"
            note = f"Of {many:,} test rows; each learnt from {learnt}."
            figures = [*_table("Simpler models on the same features", "model", peers, note), *figures]
    return Studies(findings, figures)


def _table(title: str, of: str, found: Mapping[str, Mapping[str, float]], note: str) -> list[dict[str, Any]]:
    if not found:
        return []
    names = list(next(iter(found.values())))[:SHOWN]
    rows = [
        [what, *(f"{one[name]:.4f}" if name in one else "refused" for name in names)] for what, one in found.items()
    ]
    return [{"kind": "table", "title": title, "head": [of, *names], "rows": rows, "note": note}]


def learning_curves(history: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """A figure for each metric of training, of the training and the validation rows."""
    if len(history) < 2:
        return []
    found = []
    for name in dict.fromkeys(one.partition("_")[2] for one in history[0] if one.startswith(("train_", "validation_"))):
        curves = {
            part: [(epoch, one[f"{part}_{name}"]) for epoch, one in enumerate(history, 1) if f"{part}_{name}" in one]
            for part in ("train", "validation")
        }
        curves = {part: points for part, points in curves.items() if points}
        found.append({"kind": "curves", "title": f"Learning curve, {name}", "names": ("epoch", name), "curves": curves})
    return found


def decided_how(decision: Mapping[str, Any], target: Any) -> list[dict[str, Any]]:
    """A table of the temperature and the thresholds that the package was given, if any."""
    rows = [["temperature", f"{decision['temperature']:.3f}"]] if decision.get("temperature", 1) != 1 else []
    for group, bound in decision.get("thresholds", {}).items():
        who = f" where {', '.join(decision['columns'])} = {group}" if group else ""
        who = who or (" of all others" if decision["columns"] else "")
        rows.append([f"{target.classes[1]} is said{who} from", f"{bound:.4f}"])
    if not rows:
        return []
    note = "Found on validation rows. Probabilities are those of logits divided by the temperature."
    return [{"kind": "table", "title": "How answers are decided", "head": ["", ""], "rows": rows, "note": note}]

"""EvalReport → Approved or Rejected. Pure: no clock, no file, no server."""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from components.contracts.artifacts import Approval, Approved, Compressed, EvalReport, Rejected, Verdict
from components.contracts.config import StepConfig
from components.contracts.findings import Interval

FairnessRule = Literal["demographic_parity_difference", "equalized_odds_difference", "equal_opportunity_difference"]
Line = tuple[bool, str]
"""Whether a rule is met, and its numbers in words."""
LEAST_SHARED = 10
"""Rows that both models were tested on, for a comparison to mean anything; all of them, where there are fewer."""
METRIC_RULES = (
    "minimum", "maximum", "max_regression", "min_gain", "slice_minimum", "slice_maximum", "slice_max_regression",
    "max_compressed_loss",
)  # fmt: skip
"""The rules that name metrics of the objective."""


class GateConfig(StepConfig):
    """What a package must reach to be registered."""

    minimum: dict[str, float] = Field({}, description="metric to the least value on the test part")
    maximum: dict[str, float] = Field({}, description="metric to the greatest value on the test part")
    max_regression: dict[str, float] = Field(
        {}, description="metric to how much worse than the champion it may be, on the rows that both were tested on"
    )
    min_gain: dict[str, float] = Field(
        {},
        description="metric to how much better than the champion it has to be beyond doubt: the lower end of the 95 % "
        "interval (paired bootstrap) on the rows that both were tested on; below 0: how much worse it may be",
    )
    slice_minimum: dict[str, float] = Field({}, description="metric to the least value in every slice of the report")
    slice_maximum: dict[str, float] = Field({}, description="metric to the greatest value in every slice")
    slice_max_regression: dict[str, float] = Field(
        {}, description="metric to how much worse than the champion it may be in any slice"
    )
    slice_rows: int = Field(
        30, ge=1, description="slices of fewer test rows, against the champion of fewer shared ones, are not judged"
    )
    fairness: dict[FairnessRule, float] = Field(
        {}, description="difference to the most that it may be, by each of evaluate.sensitive"
    )
    max_latency_ms: float = Field(
        0, ge=0, description="the most milliseconds that one raw row may take (95 of 100 rows do); 0: no limit"
    )
    max_size_mb: float = Field(0, ge=0, description="how large the package may be, in millions of bytes; 0: no limit")
    max_compressed_loss: dict[str, float] = Field(
        {}, description="metric to how much worse the smallest version (`compress`) may be than the package"
    )
    approval: bool = Field(False, description="whether a person has to approve before the model is registered")


def run(
    config: GateConfig, report: EvalReport, approval: Approval | None = None, compressed: Compressed | None = None
) -> Verdict:
    """Every rule, each with its line. An approval also overrides failed rules, and is named in the verdict."""
    found = [
        *_floors(config, report),
        *_against_champion(config, report),
        *_slices(config, report),
        *_fairness(config, report),
        *_cost(config, report),
        *_compressed(config, compressed),
    ]
    lines = [f"{'pass' if passed else 'fail'}: {text}" for passed, text in found]
    failed = not all(passed for passed, _ in found)
    if not lines:
        lines.append("pass: the recipe has no check, gate.minimum would be one")
    if approval is not None:
        word = "forced" if failed else "approved"
        said = f"{word} by {approval.who}: {approval.why}"
        return Approved(checks=(*lines, said), report=report, approval=approval, forced=failed)
    if failed:
        return Rejected(verdict="rejected", checks=tuple(lines), report=report)
    if config.approval:
        return Rejected(verdict="awaiting", checks=(*lines, "waits for approval"), report=report)
    return Approved(checks=tuple(lines), report=report)


def _floors(config: GateConfig, report: EvalReport) -> Iterator[Line]:
    for names, word, sign in ((config.minimum, "at least", 1), (config.maximum, "at most", -1)):
        for metric, bound in names.items():
            known = report.metrics.get(metric)
            passed = known is not None and sign * known.value >= sign * bound
            yield passed, f"{metric} {_figure(known)}, {word} {bound:g}"


def _against_champion(config: GateConfig, report: EvalReport) -> Iterator[Line]:
    for names, judge in ((config.max_regression, _regression), (config.min_gain, _improvement)):
        for metric, bound in names.items():
            gain = report.gain.get(metric)
            if few := _few(report):
                yield False, f"{metric} against the champion: {few}"
            elif gain is not None:
                yield judge(metric, gain, bound, lower_is_better=metric in report.lower_is_better)
            elif report.gain or metric not in report.metrics:
                yield False, f"{metric} against the champion: not measured"
            else:
                yield True, f"{metric} against the champion: there is none"


def _few(report: EvalReport) -> str:
    """What is wrong with a comparison on too few rows; nothing where there is no champion, or rows enough."""
    if not report.rival or report.shared >= min(LEAST_SHARED, report.rows):
        return ""
    known = f"only {report.shared} test rows are in both models' test parts"
    return f"{known}; keep the split, or register under another name"


def _regression(metric: str, gain: Interval, bound: float, *, lower_is_better: bool) -> Line:
    worse = gain.value if lower_is_better else -gain.value
    return worse <= bound, f"{metric} {gain.value:+.4f} against the champion, at most {bound:g} worse"


def _improvement(metric: str, gain: Interval, bound: float, *, lower_is_better: bool) -> Line:
    better, least = (-gain.value, -gain.high) if lower_is_better else (gain.value, gain.low)
    text = f"{metric} better than the champion by {better:+.4f}, beyond doubt by {least:+.4f}, at least {bound:+g}"
    return least >= bound, text


def _slices(config: GateConfig, report: EvalReport) -> Iterator[Line]:
    judged = [one for one in report.slices if one.rows >= config.slice_rows]
    small = len(report.slices) - len(judged)
    left = f"; {small} of fewer than {config.slice_rows} rows not judged" if small else ""
    for bounds, word, sign in ((config.slice_minimum, "at least", 1), (config.slice_maximum, "at most", -1)):
        for metric, bound in bounds.items():
            known = [(sign * one.metrics[metric].value, one.name) for one in judged if metric in one.metrics]
            yield _worst(known, f"{metric} of slices", sign, sign * bound, f"{word} {bound:g}{left}")
    for metric, bound in config.slice_max_regression.items():
        if few := _few(report):
            yield False, f"{metric} of slices against the champion: {few}"
            continue
        if not report.gain:
            yield True, f"{metric} of slices against the champion: there is none"
            continue
        sign = -1 if metric in report.lower_is_better else 1
        both = [one for one in report.slices if one.shared >= config.slice_rows]
        known = [(sign * one.gain[metric].value, one.name) for one in both if metric in one.gain]
        end = f"at most {bound:g} worse than the champion{left}"
        yield _worst(known, f"{metric} of slices against the champion", sign, -bound, end)


def _fairness(config: GateConfig, report: EvalReport) -> Iterator[Line]:
    for name, bound in config.fairness.items():
        if not report.fairness:
            yield False, f"{name}: not measured, evaluate.sensitive would name columns"
        for one in report.fairness:
            known = one.differences.get(name)
            text = f"{name} by {one.column} {_figure(known)}, at most {bound:g}"
            yield known is not None and known.value <= bound, text


def _cost(config: GateConfig, report: EvalReport) -> Iterator[Line]:
    cost = report.cost
    if config.max_latency_ms:
        passed = cost is not None and cost.latency_ms_95 <= config.max_latency_ms
        value = f"{cost.latency_ms_95:.2f} ms" if cost else "not measured"
        yield passed, f"one row takes {value}, at most {config.max_latency_ms:g} ms"
    if config.max_size_mb:
        passed = cost is not None and cost.size_bytes <= config.max_size_mb * 1e6
        value = f"{cost.size_bytes / 1e6:.2f} MB" if cost else "not measured"
        yield passed, f"the package has {value}, at most {config.max_size_mb:g} MB"
    if report.alone is not None:
        took = f"in an environment of its own requirements ({report.alone.seconds:.0f} s)"
        if report.alone.passed:
            yield True, f"answers its example {took}"
        else:
            yield False, f"does not answer its example {took}: {report.alone.said}"


def _compressed(config: GateConfig, compressed: Compressed | None) -> Iterator[Line]:
    for metric, bound in config.max_compressed_loss.items():
        if compressed is None:
            yield False, f"{metric} of the smallest version: not measured, the recipe has no section compress"
            continue
        first, last = compressed.versions[0], compressed.versions[-1]
        if metric not in first.metrics:
            yield False, f"{metric} of the smallest version: not measured"
            continue
        change = last.metrics[metric] - first.metrics[metric]
        worse = change if metric in compressed.lower_is_better else -change
        text = f"{metric} {change:+.4f} as {last.name} ({last.size_bytes / 1e6:.2f} MB), at most {bound:g} worse"
        yield worse <= bound, text


def _worst(known: Sequence[tuple[float, str]], what: str, sign: int, bound: float, end: str) -> Line:
    """Whether the least of the figures, which were multiplied with `sign`, is at least `bound`."""
    if not known:
        return False, f"{what}: not measured, {end}"
    value, name = min(known)
    return value >= bound, f"{what}: {sign * value:.4f} where {name}, worst of {len(known)}, {end}"


def _figure(known: Interval | None) -> str:
    return "not measured" if known is None else f"{known.value:.4f}"

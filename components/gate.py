"""EvalReport → Approved or Rejected. Pure: no clock, no file, no server."""

from pydantic import Field

from components.contracts.artifacts import Approval, Approved, EvalReport, Rejected, Verdict
from components.contracts.config import StepConfig


class GateConfig(StepConfig):
    """What a package must reach to be registered."""

    minimum: dict[str, float] = Field({}, description="metric to the least value on the test part")
    maximum: dict[str, float] = Field({}, description="metric to the greatest value on the test part")
    max_regression: dict[str, float] = Field(
        {}, description="metric to how much worse than the champion it may be, on the rows that both were tested on"
    )
    approval: bool = Field(False, description="whether a person has to approve before the model is registered")


def run(config: GateConfig, report: EvalReport, approval: Approval | None = None) -> Verdict:
    """Every check, each with its line. An approval also overrides failed checks, and is named in the verdict."""
    lines, failed = [], False
    for names, word, sign in ((config.minimum, "at least", 1), (config.maximum, "at most", -1)):
        for metric, bound in names.items():
            known = report.metrics.get(metric)
            passed = known is not None and sign * known.value >= sign * bound
            failed |= not passed
            lines.append(_line(f"{metric} {_figure(known.value if known else None)}, {word} {bound:g}", passed=passed))
    for metric, bound in config.max_regression.items():
        gain = report.gain.get(metric)
        if gain is None and (report.gain or metric not in report.metrics):
            failed = True
            lines.append(_line(f"{metric} against the champion: not measured", passed=False))
            continue
        if gain is None:
            lines.append(_line(f"{metric} against the champion: there is none", passed=True))
            continue
        worse = gain.value if metric in report.lower_is_better else -gain.value
        failed |= worse > bound
        lines.append(
            _line(f"{metric} {gain.value:+.4f} against the champion, at most {bound:g} worse", passed=worse <= bound)
        )
    if not lines:
        lines.append("pass: the recipe has no check, gate.minimum would be one")
    if approval is not None:
        return Approved(checks=(*lines, f"approved by {approval.who}: {approval.why}"), report=report)
    if failed:
        return Rejected(verdict="rejected", checks=tuple(lines), report=report)
    if config.approval:
        return Rejected(verdict="awaiting", checks=(*lines, "waits for approval"), report=report)
    return Approved(checks=tuple(lines), report=report)


def _line(text: str, *, passed: bool) -> str:
    return f"{'pass' if passed else 'fail'}: {text}"


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"

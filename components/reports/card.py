"""The model card in Markdown: what a model is for, what it learnt from, how well it does and for whom, its limits.

After Mitchell 2019. `measured` is what evaluate knows and commits; `model_card` adds, when the model is registered,
whose it is and where it comes from.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.contracts.artifacts import Dataset, EvalReport
from components.contracts.findings import Fairness, Interval
from components.statistics.keys import SPLITS

SHOWN = 20
"""Columns, requirements and the like that a card lists before it says how many more there are."""
UNSAID = "Not said. `register.{}` in the recipe says it."


def measured(report: EvalReport, dataset: Dataset, model: Mapping[str, Any], requirements: Sequence[str]) -> str:
    """The sections that figures make; `model` is what the package says of itself, `requirements` its libraries."""
    return "\n\n".join([
        "## Data\n\n" + "\n".join(_data(dataset)),
        "## Model\n\n" + "\n".join(_model(model, report)),
        "## Metrics\n\n" + "\n".join(_metrics(report)),
        *(["## Groups\n\n" + "\n\n".join(map(_groups, report.fairness))] if report.fairness else []),
        "## Where it does worse\n\n" + "\n".join(_worse(report)),
        "## Environment\n\n" + "\n".join(f"- `{one}`" for one in requirements),
    ])


def model_card(
    name: str, use: str, limits: str, *, origin: Mapping[str, str], body: str, checks: Sequence[str], content: str
) -> str:
    """The whole card of the package with this content."""
    lineage = {"package": content, **{key: value for key, value in origin.items() if key != "description"}}
    return (
        "\n\n".join([
            f"# {name}",
            *([origin["description"]] if origin.get("description") else []),
            f"## Intended use\n\n{use or UNSAID.format('use')}",
            f"## Limits\n\n{limits or UNSAID.format('limits')}",
            body,
            "## Gate\n\n" + "\n".join(f"- {one}" for one in checks),
            "## Lineage\n\n"
            + "\n".join(f"- {key.replace('_', ' ')}: `{value}`" for key, value in lineage.items() if value),
        ])
        + "\n"
    )


def _data(dataset: Dataset) -> Iterator[str]:
    rows = ", ".join(f"{dataset.rows.get(part, 0):,} {part}" for part in SPLITS)
    yield f"Rows: {rows}; divided by {dataset.split.get('method', 'hash')}."
    lost = [one.ledger for one in (dataset.clean.valid, dataset.clean, dataset) if one.ledger]
    aside, twice = sum(one.quarantined for one in lost), sum(one.deduplicated for one in lost)
    dropped = {name: count for one in lost for name, count in one.dropped.items() if count}
    left = [f"{aside:,} set aside as wrong", f"{twice:,} duplicates", *(f"{n:,} {why}" for why, n in dropped.items())]
    yield f"Not among them: {', '.join(left)}."
    target = dataset.target
    classes = dict(zip(target.state.get("classes", ()), target.state.get("counts", ()), strict=False))
    parts = target.config.get("parts", ())
    what = ", ".join(
        f"{one['kind']} {', '.join(one.get('columns', ()) or [str(one.get('column', ''))])}"
        for one in (parts or [target.config])
    )
    counts = ", ".join(f"{name} {count:,}" for name, count in list(classes.items())[:SHOWN])
    yield f"Target: {what}{f' (training rows: {counts})' if counts else ''}."
    yield ""
    yield "| column | type | may be missing |"
    yield "|---|---|---|"
    columns = dataset.clean.valid.columns
    for one in columns[:SHOWN]:
        yield f"| {_cell(one.name)} | {one.type} | {'yes' if one.nullable else 'no'} |"
    if len(columns) > SHOWN:
        yield f"| and {len(columns) - SHOWN:,} more | | |"


def _model(model: Mapping[str, Any], report: EvalReport) -> Iterator[str]:
    features = ", ".join(f"{one['config']['kind']} `{one['config'].get('name', '')}`" for one in model["features"])
    yield f"A `{model['model']['kind']}` that learnt `{model['objective']['kind']}` from {features}."
    decision = model.get("decision", {})
    if decision.get("temperature", 1) != 1:
        yield f"Its probabilities are of logits divided by {decision['temperature']:.3f}, found on validation rows."
    if decision.get("thresholds"):
        bounds = ", ".join(f"{group or 'all others'}: {bound:.4f}" for group, bound in decision["thresholds"].items())
        by = f" by {', '.join(decision['columns'])}" if decision["columns"] else ""
        yield f"The second class is said from a probability on{by} that was found on validation rows ({bounds})."
    if report.cost:
        cost = report.cost
        yield (
            f"One row takes {cost.latency_ms:.2f} ms (95 of 100 at most {cost.latency_ms_95:.2f} ms); "
            f"{cost.rows_a_second:,.0f} rows a second in batches; {cost.size_bytes / 1e6:.2f} MB."
        )


def _metrics(report: EvalReport) -> Iterator[str]:
    yield f"On {report.rows:,} raw test rows that training never saw, with 95 % intervals."
    yield ""
    yield "| metric | value | interval | baseline |"
    yield "|---|---:|---|---:|"
    for name, one in report.metrics.items():
        yield f"| {name} | {one.value:.4f} | {_between(one)} | {report.baseline[name]:.4f} |"
    first = next(iter(report.metrics), "")
    named = [one for one in report.slices if one.chance is None and first in one.metrics]
    if named:
        yield ""
        yield f"| test rows where | rows | {first} | interval |"
        yield "|---|---:|---:|---|"
        for part in named:
            known = part.metrics[first]
            yield f"| {_cell(part.name)} | {part.rows:,} | {known.value:.4f} | {_between(known)} |"
    if report.peers:
        yield ""
        yield f"| beside simpler models, {report.peer_rows:,} rows | {first} |"
        yield "|---|---:|"
        for name, figures in report.peers.items():
            yield f"| {name} | {figures[first]:.4f} |"


def _groups(one: Fairness) -> str:
    lines = [
        f"By {one.column}; what matters is `{one.positive}`.",
        "",
        "| group | rows | is said of | of those who are, found | of others, said | accuracy |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in one.groups.items():
        shares = " | ".join(
            f"{row[key]:.4f}" if key in row else "–"
            for key in ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")
        )
        lines.append(f"| {_cell(name)} | {row['rows']:,.0f} | {shares} |")
    lines.append("")
    lines += [
        f"- {name.replace('_', ' ')}: {known.value:.4f} ({_between(known)})" for name, known in one.differences.items()
    ]
    return "\n".join(lines)


def _worse(report: EvalReport) -> Iterator[str]:
    first = next(iter(report.metrics), "")
    found = [one for one in report.slices if one.chance is not None and first in one.metrics]
    for one in found:
        yield f"- where {_cell(one.name)} ({one.rows:,} rows): {first} {one.metrics[first].value:.4f}"
    if report.searched and not found:
        yield f"- {report.searched:,} parts of the test rows were looked at, and none is worse beyond chance"
    if report.harmed:
        yield "- test rows of a sample, harmed:"
    for what, figures in report.harmed.items():
        yield f"    - {what}: " + (f"{first} {figures[first]:.4f}" if first in figures else "such rows are refused")
    if not report.searched and not report.harmed:
        yield "- it was not looked for"


def _between(one: Interval) -> str:
    return f"{one.low:.4f} – {one.high:.4f}"


def _cell(text: str) -> str:
    """Text of the data inside a table."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")

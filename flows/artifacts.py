"""What a run's page in Prefect shows beside its log: data quality, metrics, what ran and why, and where to read on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from components.adapters.store import Store
from components.context import Outcome
from components.contracts.artifacts import Artifact, ModelVersion, RawSnapshot, ValidSnapshot
from components.contracts.findings import Interval
from flows.patience import await_server
from flows.runs import Run

SHOWN = 5
PARTS = 20
"""Quarantined rows that the page shows, and in how many partitions it looks for them."""


def show_data(run: Run, snapshots: Sequence[Artifact], report: str) -> None:
    """Where every row went, step by step, rows that were set aside, and columns that moved."""
    # A browser does not open file:// from a page that came over http.
    lines = [
        f"[Data report]({report})" if report.startswith("http") else f"Data report: `{report}`",
        "",
        "| step | rows in | added | rows out | quarantined | duplicates | dropped | cells changed |",
        "|---|---:|---:|---:|---:|---:|---|---|",
    ]
    for one in snapshots:
        if one.ledger is not None:
            ledger = one.ledger
            named = [
                ", ".join(f"{reason}: {number:,}" for reason, number in one.items()) or "0"
                for one in (ledger.dropped, ledger.changed)
            ]
            counts = (ledger.rows_in, ledger.added, ledger.rows_out, ledger.quarantined, ledger.deduplicated)
            lines.append(f"| {one.step} | {' | '.join([*(f'{count:,}' for count in counts), *named])} |")
    bad = list(bad_rows(snapshots, run.ctx.store))
    if bad:
        lines += ["", "| row | code | column | reason |", "|---|---|---|---|"]
        lines += [f"| {_cells(one['place'], one['code'], one['column'], one['reason'])} |" for one in bad]
    moved = {name: value for one in snapshots if isinstance(one, ValidSnapshot) for name, value in one.drift.items()}
    if moved:
        first = sorted(moved.items(), key=lambda one: -one[1])[:SHOWN]
        lines += ["", "| column | moved from the snapshot before (population stability index) |", "|---|---:|"]
        lines += [f"| {_cells(name)} | {value:.3f} |" for name, value in first]
    create_markdown_artifact("\n".join(lines), key=_key(run, "data"), description="Where every row went")


def bad_rows(snapshots: Sequence[Artifact], store: Store) -> Iterator[Mapping[str, str]]:
    """The first rows that ingest and validate set aside, of the first partitions of each."""
    left = SHOWN
    for one in snapshots:
        if not isinstance(one, (RawSnapshot, ValidSnapshot)) or not (one.ledger and one.ledger.quarantined):
            continue
        aside = one.aside if isinstance(one, RawSnapshot) else ()
        for part in (*aside, *one.parts)[:PARTS]:
            lines = store.part(one.step, part.key).standing().meta["bad"][:left] if left else []
            left -= len(lines)
            yield from lines


def show_metrics(run: Run, metrics: Mapping[str, Interval], champion: Mapping[str, Interval]) -> None:
    """Each metric of the test part with its interval, beside the champion's."""
    table = []
    for key, one in metrics.items():
        other = champion.get(key)
        row = {"metric": key, "value": round(one.value, 4), "low": round(one.low, 4), "high": round(one.high, 4)}
        table.append({**row, "champion": round(other.value, 4) if other else ""})
    create_table_artifact(table, key=_key(run, "metrics"), description="On the test part, with 95 % intervals")


def show_links(run: Run, report: str, version: ModelVersion | None) -> None:
    """The report, and the run and the model in MLflow."""
    if report.startswith("http"):
        create_link_artifact(report, key=_key(run, "report"), link_text="Evaluation report", description="On MLflow")
    else:
        # A browser does not open file:// from a page that came over http.
        create_markdown_artifact(f"`{report}`", key=_key(run, "report"), description="Evaluation report, a local file")
    tracker = run.ctx.tracker
    page = tracker.run_link()
    lines = [f"[Run {run.name} in MLflow]({page})" if page else f"Run `{tracker.run_id}` of {tracker.address}"]
    if version is not None:
        model, text = tracker.model_link(version.name, version.version), f"{version.name} version {version.version}"
        lines.append(f"[Model {text}]({model})" if model else f"Model {text}")
    else:
        lines.append(
            f"Not registered. `millrace approve {run.name} --why …`, or the deployment `approval` with `run` "
            f"{run.name}, lets it through all the same."
        )
    if not page:
        lines.append("`millrace up` shows both in a browser.")
    create_markdown_artifact("\n\n".join(lines), key=_key(run, "mlflow"), description="Run and model in MLflow")


def show_steps(name: str, outcomes: Sequence[Outcome], description: str = "What ran and why") -> None:
    """What ran and why."""
    await_server()
    lines = ["| step | | seconds | rows | why |", "|---|---|---:|---:|---|"]
    for one in outcomes:
        what = "reused" if one.reused else "ran"
        rows = "" if one.rows is None else f"{one.rows:,}"
        lines.append(f"| {one.step} | {what} | {one.seconds:.2f} | {rows} | {_cells(one.why)} |")
    create_markdown_artifact("\n".join(lines), key=name, description=description)


def _key(run: Run, what: str) -> str:
    return f"{run.config.name}-{what}"


def _cells(*texts: Any) -> str:
    return " | ".join(str(text).replace("|", r"\|") for text in texts)

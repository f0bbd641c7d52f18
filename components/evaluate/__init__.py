"""ModelPackage, Dataset, champion → EvalReport: the package itself, on raw test rows, once.

Test rows are those that the split has always put into the test part. They are read from the validated snapshot, not
from shards, so cleaning, features and decoding are measured as they will be served.
"""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, field_validator

from components.adapters.ahead import ahead
from components.context import RunContext
from components.contracts.artifacts import Dataset, EvalReport, ModelPackage
from components.contracts.config import StepConfig
from components.contracts.content import content_of
from components.contracts.errors import DataError
from components.contracts.fingerprint import digest
from components.contracts.spec import OWN_COLUMNS
from components.evaluate.fairness import fairness_of
from components.evaluate.peers import Found, nobody, peers_beside
from components.evaluate.slices import Cells, slices_of
from components.evaluate.speed import cost_of
from components.evaluate.studies import decided_how, learning_curves, studied
from components.packages import open_package, own_errors, told_of
from components.raw_rows import CHUNK_ROWS, accepted, add_rival, folder_of, opened, rows_of, truth_of
from components.reports.card import measured
from components.reports.evaluation import evaluation_page
from components.statistics.keys import TEST
from components.statistics.slices import check_slice
from components.statistics.splits import Split
from components.tally import Pair, Tally

AHEAD = 1
"""Chunks of rows that wait while earlier ones are answered."""


class EvaluateConfig(StepConfig):
    """What the report shows."""

    worst: int = Field(12, ge=0, le=100, description="how many of the worst answers the report shows")
    slices: tuple[str, ...] = Field(
        (),
        description="parts of the test rows with figures of their own: a column, each of whose values (of numbers, "
        "quarters) is one, or an expression such as `age >= 60 and sex == 'Female'`",
    )
    sensitive: tuple[str, ...] = Field(
        (), description="columns of people's groups, such as sex, by which the model is judged; it need not read them"
    )
    positive: str = Field("", description="the class that matters to people; of two classes the second where empty")
    search: bool = Field(True, description="whether the parts are looked for on which the model is worst")
    least_rows: int = Field(30, ge=2, description="how many test rows a part has at least that the search names")

    peers: bool = Field(
        True, description="whether simpler models (linear, forest, boosted trees, support vectors) learn the same table"
    )
    robustness: bool = Field(
        True, description="whether test rows are harmed (noise, blur, missing cells, typing errors) and tried again"
    )
    explain: int = Field(
        6, ge=0, le=50, description="how many answers are explained one by one; 0: nothing is explained"
    )

    @field_validator("slices")
    @classmethod
    def _readable(cls, slices: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(check_slice, slices))

    @field_validator("sensitive")
    @classmethod
    def _columns(cls, sensitive: tuple[str, ...]) -> tuple[str, ...]:
        """Names may stand in backquotes, as in `slices`."""
        return tuple(one.strip("`") for one in sensitive)


def run(
    config: EvaluateConfig, package: ModelPackage, dataset: Dataset, champion: ModelPackage | None, *, ctx: RunContext
) -> EvalReport:
    """Evaluate `package`, and the champion on the rows that both were tested on.

    Raises:
        DataError: E_LABEL, a test row's class is unknown to the model; E_TOO_FEW_ROWS; E_COLUMN_MISSING, a slice names
            a column that there is not.
    """
    inputs = {
        "package": package.content,
        "dataset": dataset.content,
        "champion": champion.content if champion else "",
        "alone": digest(package.alone.passed if package.alone else None),
    }

    def build(folder: Path) -> EvalReport:
        ours = open_package(folder_of(package, ctx.store))
        with peers_beside(ours, dataset, ctx.store) if config.peers else nullcontext(nobody) as peers_of:
            return measure(folder, ours, peers_of)

    def measure(folder: Path, ours: Any, peers_of: Callable[[], Found]) -> EvalReport:
        theirs = opened(champion, ctx.store) if champion else None
        people = tuple(f"`{one}`" for one in config.sensitive)
        cells = Cells((*config.slices, *people), search=config.search, expected=dataset.rows[TEST])
        tally, rival, shared = Tally(ours, config.worst), Tally(theirs, 0) if theirs else None, []
        sample: Any = None
        for done, chunk in enumerate(ahead(rows_of(dataset, ctx.store), AHEAD), 1):
            with own_errors("correct the data, or run with --rerun package"):
                rows, keep = accepted(ours, chunk)
                if not rows.num_rows:
                    continue
                truth = truth_of(ours, rows)
                asked = rows.drop(list(OWN_COLUMNS))
                tally.add(rows, truth, ours.predict(asked).answers)
            if sample is None or asked.num_rows > sample.num_rows:
                sample = asked
            cells.add(rows, truth, ours.target)
            if theirs is not None and rival is not None:
                both = (Split.model_validate(theirs.split).parts(chunk, strict=False) == TEST)[keep]
                shared.append(both)
                with own_errors("the champion cannot answer these rows: register under another name (register.name)"):
                    add_rival(rival, ours, theirs, rows.filter(pa.array(both)))
            ctx.progress.advanced("evaluate", done, max(done, dataset.rows[TEST] // CHUNK_ROWS), "chunks")
        if not tally.truth:
            raise DataError("E_TOO_FEW_ROWS", "no test row is left", place="split.test", action="raise split.test")
        whole, beside = tally.whole(), rival.whole() if rival and rival.truth else None
        every = np.ones(whole.rows, bool)
        pair = Pair(whole, beside, np.concatenate(shared) if shared else ~every)
        lower = ours.objective.lower_is_better
        by = next(iter(whole.metrics), "")
        slices, searched = slices_of(cells, pair, better=by, sign=-1 if by in lower else 1, least=config.least_rows)
        fair, drawn = fairness_of(config, cells, pair, ours.target)
        more = studied(ours, dataset, config, ctx, peers_of)
        report = EvalReport(
            package=package.fingerprint,
            dataset=dataset.content,
            metrics=whole.figures(),
            champion=beside.figures() if beside else {},
            gain=pair.gain(every),
            baseline=_baseline(ours, whole.facts, np.concatenate(tally.truth)),
            lower_is_better=tuple(sorted(lower)),
            rows=whole.rows,
            shared=int(pair.shared.sum()),
            rival=inputs["champion"],
            slices=slices,
            searched=searched,
            cost=cost_of(ours, sample, package.size_bytes),
            alone=package.alone,
            fairness=fair,
            **more.findings,
        )
        figures = [*learning_curves(package.history), *ours.objective.figures(whole.facts, ours.target)]
        figures += [*decided_how(package.decision, ours.target), *drawn, *more.figures, *ours.portraits()]
        page = evaluation_page(report, ours.objective.baseline_name, figures, [one for _, one in tally.mistakes])
        (folder / "report.html").write_text(page, encoding="utf-8")
        said, needs = told_of(folder_of(package, ctx.store))
        (folder / "card.md").write_text(measured(report, dataset, said, needs), encoding="utf-8")
        (folder / "evaluation.json").write_text(json.dumps({"figures": figures}))
        # What was timed is different each time, and says nothing new: who comes after runs again for the rest alone.
        untimed = report.model_copy(update={"cost": None, "alone": None})
        same = [content_of(untimed), package.size_bytes, package.alone.passed if package.alone else None]
        return report.model_copy(update={"content": digest(same)})

    return ctx.commit(EvalReport, __name__, config, inputs, build)


def _baseline(predictor: Any, facts: Any, truth: NDArray[Any]) -> dict[str, float]:
    """The metrics of who knows the training targets and no feature."""
    objective = predictor.objective
    answers = objective.constant(predictor.target, facts)
    means = {name: float(values.mean()) for name, values in objective.row_metrics(answers, truth).items()}
    pooled: dict[str, float] = objective.pooled(objective.facts(answers, truth))(np.ones(len(truth)))
    return means | pooled

"""The evaluation report: metrics with intervals, the objective's figures, the worst answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.contracts.artifacts import EvalReport
from components.reports.figures import MACROS, laid_out
from components.reports.page import data_uri, page

BODY = """
<h2>Metrics on {{ "{:,}".format(report.rows) }} test rows</h2>
<div class="scroll"><table><tr><th>metric</th><th>value</th><th>95 % interval</th><th>{{ baseline_name }}</th>
{% if report.champion %}<th>champion, shared rows</th><th>gain, 95 % interval</th>{% endif %}</tr>
{% for name, figure in report.metrics.items() %}<tr><td>{{ name }}</td><td><b>{{ "%.4f"|format(figure.value) }}</b></td>
<td>{{ "%.4f"|format(figure.low) }} – {{ "%.4f"|format(figure.high) }}</td><td>{{ "%.4f"|format(report.baseline[name]) }}</td>
{% if report.champion and name not in report.gain %}<td></td><td></td>{% elif report.champion %}
<td>{{ "%.4f"|format(report.champion[name].value) }}</td><td>
{{ "%+.4f"|format(report.gain[name].value) }} ({{ "%+.4f"|format(report.gain[name].low) }} to
{{ "%+.4f"|format(report.gain[name].high) }})</td>{% endif %}</tr>{% endfor %}</table></div>
{% if report.slices or report.searched %}<h2>Slices</h2>
{% if report.slices %}<div class="scroll"><table><tr><th>test rows where</th><th>rows</th>{% for name in shown %}
<th>{{ name }}</th>{% endfor %}{% if report.gain %}<th>{{ shown[0] }} against the champion</th>{% endif %}</tr>
{% for one in report.slices %}<tr><td>{{ one.name }}{% if one.chance is not none %} <span class="dim">· found</span>{% endif %}</td><td>{{ "{:,}".format(one.rows) }}</td>
{% for name in shown %}<td>{% if name in one.metrics %}<b>{{ "%.4f"|format(one.metrics[name].value) }}</b>
<span class="dim">{{ "%.3f"|format(one.metrics[name].low) }} – {{ "%.3f"|format(one.metrics[name].high) }}</span>{% endif %}</td>
{% endfor %}{% if report.gain %}<td>{% if shown[0] in one.gain %}{{ "%+.4f"|format(one.gain[shown[0]].value) }}
<span class="dim">{{ "%+.3f"|format(one.gain[shown[0]].low) }} to {{ "%+.3f"|format(one.gain[shown[0]].high) }}</span>{% endif %}</td>
{% endif %}</tr>{% endfor %}</table></div>{% endif %}
{% if report.searched %}<p class="dim">{{ "{:,}".format(report.searched) }} parts of the test rows were looked at, by one column and by
two. {% if found %}Those marked as found are worse than the rest in {{ shown[0] }} beyond chance (5 %, with every part
counted that was looked at).{% else %}None is worse than the rest in {{ shown[0] }} beyond chance (5 %, with every part
counted).{% endif %}</p>{% endif %}{% endif %}
{% for one in figures %}{{ figure(one) }}{% endfor %}
{% if mistakes %}<h2>Worst answers</h2><div class="cards">{% for one in mistakes %}<div class="card">
{% if one.image %}<img src="{{ uri(one.image) }}" alt="row {{ one.place }}">{% endif %}
<b>predicted {{ one.predicted }}, is {{ one.truth }}</b>{{ one.note }}
<div class="dim">{{ one.place }}{% for name, cell in one.cells.items() %}<br>{{ name }}: {{ cell }}{% endfor %}</div>
</div>{% endfor %}</div>{% endif %}
"""

SHOWN = 2
"""Metrics of slices; the record has them all."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A row with a bad answer; `note` says how bad. `image` is encoded bytes, or empty; `cells` are the other columns as text."""

    truth: str
    predicted: str
    note: str
    place: str
    image: bytes
    cells: dict[str, str]


def evaluation_page(
    report: EvalReport, baseline_name: str, figures: Sequence[Mapping[str, Any]], mistakes: Sequence[Mistake]
) -> str:
    """The report as one HTML document; figures are plain data (figures.py)."""
    return page(
        MACROS + BODY,
        title="Evaluation",
        subtitle=f"Package {report.package}, on raw rows that training never saw",
        report=report,
        baseline_name=baseline_name,
        shown=list(report.metrics)[:SHOWN],
        found=any(one.chance is not None for one in report.slices),
        figures=[laid_out(one) for one in figures],
        mistakes=mistakes,
        uri=data_uri,
    )

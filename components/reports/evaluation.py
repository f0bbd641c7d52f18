"""The evaluation report: metrics with intervals, confusion matrix, the surest mistakes."""

from dataclasses import dataclass

from components.contracts.artifacts import EvalReport
from components.reports.page import data_uri, page

MOST_CLASSES = 40
"""A larger matrix cannot be read; the worst pairs are listed instead."""
MOST_PAIRS = 20

BODY = """
<h2>Metrics on {{ "{:,}".format(report.rows) }} test rows</h2>
<div class="scroll"><table><tr><th>metric</th><th>value</th><th>95 % interval</th><th>most frequent class</th>
{% if report.champion %}<th>champion, shared rows</th><th>gain, 95 % interval</th>{% endif %}</tr>
{% for name, figure in report.metrics.items() %}<tr><td>{{ name }}</td><td><b>{{ "%.4f"|format(figure.value) }}</b></td>
<td>{{ "%.4f"|format(figure.low) }} – {{ "%.4f"|format(figure.high) }}</td><td>{{ "%.4f"|format(report.baseline[name]) }}</td>
{% if report.champion %}<td>{{ "%.4f"|format(report.champion[name].value) }}</td><td>
{{ "%+.4f"|format(report.gain[name].value) }} ({{ "%+.4f"|format(report.gain[name].low) }} to
{{ "%+.4f"|format(report.gain[name].high) }})</td>{% endif %}</tr>{% endfor %}</table></div>
{% if matrix %}<h2>Confusion matrix</h2><p class="dim">Rows: the true class. Columns: the predicted one.</p>
<div class="scroll"><table class="matrix"><tr><th></th>{% for name in classes %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in matrix %}<tr><th>{{ classes[loop.index0] }}</th>
{% for cell in row %}<td style="background: rgba(var(--{{ cell.colour }}), {{ cell.share }})">{{ cell.count or "" }}</td>
{% endfor %}</tr>{% endfor %}</table></div>{% endif %}
<h2>Most frequent confusions</h2>
{% if pairs %}<table><tr><th>true</th><th>predicted</th><th>rows</th></tr>{% for pair in pairs %}
<tr><td>{{ pair[0] }}</td><td>{{ pair[1] }}</td><td>{{ pair[2] }}</td></tr>{% endfor %}</table>
{% else %}<p>None: every test row was predicted right.</p>{% endif %}
{% if mistakes %}<h2>Surest mistakes</h2><div class="cards">{% for one in mistakes %}<div class="card">
{% if one.image %}<img src="{{ uri(one.image) }}" alt="row {{ one.place }}">{% endif %}
<b>predicted {{ one.predicted }}, is {{ one.truth }}</b>{{ "%.1f"|format(100 * one.confidence) }} % sure
<div class="dim">{{ one.place }}{% for name, cell in one.cells.items() %}<br>{{ name }}: {{ cell }}{% endfor %}</div>
</div>{% endfor %}</div>{% endif %}
"""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A row that was predicted wrong. `image` is encoded bytes, or empty; `cells` are the other columns as text."""

    truth: str
    predicted: str
    confidence: float
    place: str
    image: bytes
    cells: dict[str, str]


def evaluation_page(report: EvalReport, classes: list[str], confusion: list[list[int]], mistakes: list[Mistake]) -> str:
    """The report as one HTML document; `confusion[true][predicted]` counts rows."""
    pairs = [
        (classes[true], classes[predicted], count)
        for true, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    matrix = [
        [
            {
                "count": count,
                "share": round(0.75 * count / max(sum(row), 1), 3),
                "colour": "good" if true == predicted else "bad",
            }
            for predicted, count in enumerate(row)
        ]
        for true, row in enumerate(confusion)
    ]
    return page(
        BODY,
        title="Evaluation",
        subtitle=f"Package {report.package}, on raw rows that training never saw",
        report=report,
        classes=classes,
        matrix=matrix if len(classes) <= MOST_CLASSES else [],
        pairs=sorted(pairs, key=lambda pair: -pair[2])[:MOST_PAIRS],
        mistakes=mistakes,
        uri=data_uri,
    )

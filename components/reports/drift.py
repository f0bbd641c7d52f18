"""The page of a drift report: what moved, by how much, and how far the tests can be trusted."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.contracts.findings import ANSWER
from components.reports.page import page

BARS = 12
BODY = """
<div class="cards">{% for name, value in counts %}<div class="card"><b style="margin:0">{{ value }}</b>{{ name }}</div>
{% endfor %}</div>
{% if simulated %}<p><b>These rows were moved by {{ simulated }} deviations before they were compared: a trial.</b></p>{% endif %}
{% if not rows %}<p>Fewer than {{ "{:,}".format(least) }} new rows: nothing is said of them.</p>{% else %}
<h2>What was compared</h2><div class="scroll"><table><tr><th></th><th>size</th><th>matters from</th><th>chance</th>
<th>test rows</th><th>new rows</th>{% if bars %}<th style="text-align:left">test rows over new rows</th>{% endif %}</tr>
{% for one in rows %}<tr{% if one.alarm %} class="alarm"{% endif %}><td>{{ one.what }}</td><td>{{ "%.3f"|format(one.size) }}</td>
<td>{{ one.least }}</td><td>{{ chance(one.p) }}</td><td>{{ one.before }}</td><td>{{ one.now }}</td>
{% if bars %}<td class="bars">{% for side in bars.get((one.kind, one.what), ()) %}<span>{% for bar in side %}
<i style="height: {{ (18 * bar)|round(1) }}px"></i>{% endfor %}</span>{% endfor %}</td>{% endif %}</tr>{% endfor %}</table></div>
<p class="dim">An alarm is a row in red: chance would bring any of these so far in {{ "%.2g"|format(100 * rate) }} % of batches at
most (Holm's correction for {{ rows|length }} tests), and it is large enough to matter. Size: of columns and answers the
population stability index; of shares their change; of what the network makes of rows, the area under the ROC curve of a
classifier that tells old and new apart; of how wrong answers are, deviations.</p>
{% if draws %}<p>Counted: of {{ draws }} batches drawn from the test rows themselves, which have not moved, {{ wrong }} would have
been an alarm.</p>{% endif %}{% endif %}
<style>tr.alarm td { color: rgb(var(--bad)); font-weight: 600; } td.bars { text-align: left; }
td.bars span { display: flex; align-items: flex-end; gap: 1px; height: 20px; border-bottom: 1px solid var(--line); }
td.bars span:last-child i { background: rgb(var(--bad)); } td.bars i { width: 6px; min-height: 1px; background: rgb(var(--good)); }</style>
"""


def drift_page(made: Any, before: Any, now: Any, config: Any) -> str:
    """HTML of a `DriftReport`; `before` and `now` are the rows as arrays."""
    counts = [
        ("alarms", len(made.alarms)),
        ("new rows", f"{made.rows:,}"),
        ("test rows", f"{made.reference_rows:,}"),
        ("tests", len(made.found)),
    ]
    period = f", {made.first[:16]} to {made.last[:16]} UTC" if made.first else ""
    return page(
        BODY,
        title="Drift",
        subtitle=f"{made.name} version {made.version}{period}",
        counts=counts,
        simulated=made.simulated,
        least=config.least_rows,
        rate=config.alarm_rate,
        rows=sorted(made.found, key=lambda one: (not one.alarm, one.p, -one.size)),
        bars=_bars(before, now) if made.found else {},
        chance=lambda p: "< 0.0001" if p < 1e-4 else f"{p:.4f}",
        draws=made.draws,
        wrong=made.false_alarms,
    )


def _bars(before: Any, now: Any) -> dict[tuple[str, str], list[list[float]]]:
    found = {}
    for name, values in before.numbers.items():
        sides = [one[np.isfinite(one)] for one in (values, now.numbers[name])]
        if all(map(len, sides)):
            low, high = np.quantile(np.concatenate(sides), [0.005, 0.995])
            edges = np.linspace(low, high if high > low else low + 1, BARS + 1)
            found[_key(name)] = [_heights(np.histogram(np.clip(one, *edges[[0, -1]]), edges)[0]) for one in sides]
    for name, codes in before.categories.items():
        sides = [np.bincount(one + 1, minlength=BARS + 1)[1 : BARS + 1] for one in (codes, now.categories[name])]
        found[_key(name)] = [_heights(one) for one in sides]
    return found


def _key(name: str) -> tuple[str, str]:
    bare = name.removeprefix(ANSWER)
    return ("prediction" if bare != name else "column", bare)


def _heights(counts: NDArray[Any]) -> list[float]:
    return [round(float(one), 3) for one in counts / max(counts.max(initial=0), 1)]

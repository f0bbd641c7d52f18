"""The data report: what the rows look like, which were set aside and why, and how far they moved."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.contracts.artifacts import Ledger
from components.reports.page import page

LARGE, SOME = 0.25, 0.1
"""How a population stability index is usually read."""
MOST_CLASSES = 30

BODY = """
<div class="cards">{% for name, value in counts %}<div class="card"><b style="margin:0">{{ "{:,}".format(value) }}</b>
{{ name }}</div>{% endfor %}</div>
<h2>Columns</h2><p class="dim">From a sample of {{ "{:,}".format(sampled) }} rows as they were read, before bad ones
were set aside. Bars show the middle 98 % of numbers; of bytes and lists the length.</p>
<div class="scroll"><table><tr><th>column</th><th>type</th><th>missing</th><th>distinct</th><th>min</th><th>median</th>
<th>mean</th><th>max</th><th style="text-align:left">values</th>{% if drift %}<th>moved</th>{% endif %}</tr>
{% for one in columns %}<tr><td>{{ one.name }}</td><td>{{ one.type }}</td><td>{{ "%.1f %%"|format(100 * one.missing) }}</td>
<td>{{ one.distinct }}</td>{% for name in ("min", "median", "mean", "max") %}<td>{{ shown(one[name]) if name in one else "" }}</td>
{% endfor %}<td class="wide">{% if one.bars %}<span class="bars">{% for bar in one.bars %}
<i style="height: {{ (28 * bar)|round(1) }}px"></i>{% endfor %}</span>{% else %}{% for value, share in one.common or () %}
{{ value[:24] }} <span class="dim">{{ "%.0f %%"|format(100 * share) }}</span>{% if not loop.last %} · {% endif %}{% endfor %}{% endif %}</td>
{% if drift %}<td>{% if one.name in drift %}<span class="{{ grade(drift[one.name]) }}">{{ "%.3f"|format(drift[one.name]) }}</span>
{% endif %}</td>{% endif %}</tr>{% endfor %}</table></div>
{% if drift %}<p class="dim">Moved: the population stability index against the snapshot before; below 0.1 is usually read
as no change, from 0.25 on as a large one.</p>{% endif %}
{% if classes %}<h2>Classes</h2><table><tr><th>{{ balance }}</th><th>rows</th><th>share</th></tr>
{% for name, rows in classes[:most] %}<tr><td>{{ name }}</td><td>{{ "{:,}".format(rows) }}</td>
<td>{{ "%.1f %%"|format(100 * rows / total) }}</td></tr>{% endfor %}</table>
{% if classes|length > most %}<p class="dim">and {{ classes|length - most }} more</p>{% endif %}{% endif %}
<h2>Set aside</h2>
{% if bad %}<div class="scroll"><table><tr><th>row</th><th>code</th><th>column</th><th style="text-align:left">reason</th>
<th style="text-align:left">value</th></tr>{% for one in bad %}<tr><td>{{ one.place }}</td><td>{{ one.code }}</td>
<td>{{ one.column }}</td><td style="text-align:left">{{ one.reason }}</td><td style="text-align:left">{{ one.value }}</td></tr>
{% endfor %}</table></div><p class="dim">The first of each part; all stand in the quarantine.jsonl that the run names.</p>
{% else %}<p>No row.</p>{% endif %}
<style>.bars { display: inline-flex; align-items: flex-end; gap: 1px; height: 28px; }
.bars i { width: 5px; min-height: 1px; background: rgb(var(--good)); } .moved { color: rgb(var(--bad)); font-weight: 600; }
.some { font-weight: 600; } td.wide { text-align: left; white-space: normal; min-width: 18rem; }</style>
"""


def data_page(
    *,
    ledger: Ledger,
    unread: int,
    twice: int | None,
    columns: Sequence[Mapping[str, Any]],
    sampled: int,
    drift: Mapping[str, float],
    classes: Mapping[str, int],
    balance: str,
    bad: Sequence[Mapping[str, str]],
) -> str:
    """The report as one HTML document.

    `unread` are rows that ingest set aside already, `twice` those that equal an earlier one, where they were counted.
    """
    counts = [
        ("rows read", ledger.rows_in + unread),
        ("good", ledger.rows_out),
        ("set aside", ledger.quarantined + unread),
        *([("equal an earlier row", twice)] if twice is not None else []),
        ("columns", len(columns)),
    ]
    return page(
        BODY,
        title="Data",
        subtitle="What validation saw",
        counts=counts,
        columns=columns,
        sampled=sampled,
        drift=drift,
        classes=list(classes.items()),
        total=sum(classes.values()) or 1,
        most=MOST_CLASSES,
        balance=balance,
        bad=bad,
        shown=_shown,
        grade=lambda value: "moved" if value >= LARGE else "some" if value >= SOME else "",
    )


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e13 else f"{value:,.4g}"

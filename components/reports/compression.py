"""The page of a model's smaller versions: what each costs, and what it loses."""

from collections.abc import Callable
from typing import Any

from components.reports.page import page

BODY = """
<div class="scroll"><table>
<tr><th></th>{% for one in names %}<th>{{ one }}</th>{% endfor %}</tr>
{% for name, cells in rows.items() %}<tr><th>{{ name }}</th>{% for one in cells %}<td>{{ one }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
<p class="dim">Size: of the weights, or of the graph, as a file; packed: as a .zip. One row, rows a second: the network
with its features' arithmetic, on this machine. Memory: what a process that has answered holds of its own. Largest
difference: of the network's outputs, over all rows. In brackets: beside the package.</p>
"""


def compression_page(made: Any) -> str:
    """HTML of a `Compressed`."""
    versions, first = made.versions, made.versions[0]

    def beside(figure: Callable[[Any], float], told: str, scale: float = 1.0) -> list[str]:
        cells = [told.format(figure(one) / scale) for one in versions]
        return [cells[0]] + [
            f"{cell} ({figure(one) / figure(first):.2f}×)" for cell, one in zip(cells[1:], versions[1:], strict=True)
        ]

    rows = {
        "size": beside(lambda one: one.size_bytes, "{:.3f} MB", 1e6),
        "packed": beside(lambda one: one.packed_bytes, "{:.3f} MB", 1e6),
        "one row": beside(lambda one: one.latency_ms, "{:.3f} ms"),
        "rows a second": beside(lambda one: one.rows_a_second, "{:,.0f}"),
        "memory": beside(lambda one: one.memory_mb, "{:.0f} MB"),
    }
    for name, known in first.metrics.items():
        changed = [f"{one.metrics[name]:.4f} ({one.metrics[name] - known:+.4f})" for one in versions[1:]]
        rows[name.replace("_", " ")] = [f"{known:.4f}", *changed]
    rows["largest difference"] = ["", *(f"{one.difference:.3g}" for one in versions[1:])]
    names = [one.name for one in versions]
    return page(BODY, title="Smaller versions", subtitle=f"{made.rows:,} test rows", names=names, rows=rows)

"""The page of a search: every trial, the best so far, and how much hangs on each key."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.reports.figures import MACROS, laid_out
from components.reports.page import page

BODY = (
    MACROS
    + """
<h2>Best</h2><p>Trial {{ best.trial }}: {{ figure }} {{ "%.4g"|format(best.figure) }}; written as <code>{{ recipe }}</code></p>
<table>{% for key, value in values.items() %}<tr><th>{{ key }}</th><td>{{ cell(value) }}</td></tr>{% endfor %}</table>
{% for one in figures %}{{ figure_of(one) }}{% endfor %}
"""
).replace("macro figure(one)", "macro figure_of(one)")


def search_page(
    name: str,
    trials: Sequence[Mapping[str, Any]],
    shares: Mapping[str, float],
    values: Mapping[str, Any],
    *,
    figure: str,
    recipe: str,
    number: int,
) -> str:
    """HTML of a search's `trials` (number, state, figure, epochs, values of the keys), the best with this `number`."""
    ended = [one for one in trials if one["figure"] is not None]
    best = next(one for one in ended if one["trial"] == number)
    more = best["figure"] >= max(one["figure"] for one in ended)
    so_far, line = None, []
    for one in ended:
        so_far = one["figure"] if so_far is None else (max if more else min)(so_far, one["figure"])
        line.append((one["trial"], so_far))
    points = [(one["trial"], one["figure"]) for one in ended]
    figures: list[dict[str, Any]] = [
        {"kind": "points", "title": "History", "points": points, "line": line, "names": ("trial", figure)}
    ]
    for key in values:
        found = [(one[key], one["figure"]) for one in ended if isinstance(one[key], (int, float))]
        if len({x for x, _ in found}) > 1:
            figures.append({"kind": "points", "title": key, "points": found, "line": [], "names": (key, figure)})
    if shares:
        title = "Importance: the part of the figure's variance that hangs on each key"
        figures.append({"kind": "shares", "title": title, "shares": list(shares.items())})
    head = ("trial", "state", "figure", "epochs", *values)
    every = [tuple(_cell(one[key]) for key in head) for one in trials]
    figures.append({"kind": "table", "title": "Trials", "head": head, "rows": every})
    laid = [laid_out(one) for one in figures]
    subtitle = f"{len(trials)} trials"
    return page(
        BODY,
        cell=_cell,
        title=f"Search: {name}",
        subtitle=subtitle,
        best=best,
        figure=figure,
        values=values,
        recipe=recipe,
        figures=laid,
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

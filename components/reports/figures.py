"""Figures of a report, from plain data, drawn as tables, SVG and pictures without scripts.

Kinds: `confusion`, `scatter`, `points`, `curves`, `histogram`, `shares`, `table`, `pictures`, `gallery`, `words`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from components.reports.page import data_uri

MOST_CLASSES = 40
"""A larger matrix cannot be read; the worst pairs are listed instead."""
MOST_PAIRS = 20
WIDTH, HEIGHT, MARGIN = 440, 300, 46
MARKS = 6
COLOURS = ("rgb(var(--good))", "rgb(var(--bad))", "#3a7bd5", "#b8860b", "#8e5bb5", "#5c6675", "#c2185b", "#00838f")

MACROS = """
{% macro axes(plot) %}
<path d="M{{ plot.left }} {{ plot.top }}V{{ plot.bottom }}H{{ plot.right }}" fill="none" stroke="var(--line)"/>
{% for mark in plot.across %}<text x="{{ mark.at }}" y="{{ plot.bottom + 16 }}" text-anchor="middle">{{ mark.text }}
</text>{% endfor %}{% for mark in plot.up %}<text x="{{ plot.left - 6 }}" y="{{ mark.at + 4 }}" text-anchor="end">
{{ mark.text }}</text>{% endfor %}
<text x="{{ plot.left }}" y="{{ plot.top - 6 }}">{{ plot.y_name }}</text>
<text x="{{ (plot.left + plot.right) / 2 }}" y="{{ plot.bottom + 34 }}" text-anchor="middle">{{ plot.x_name }}</text>
{% endmacro %}
{% macro figure(one) %}
{% if one.kind == "confusion" %}
{% if one.matrix %}<h2>{{ one.of }}Confusion matrix</h2><p class="dim">Rows: the true class. Columns: {{ one.columns }}.</p>
<div class="scroll"><table class="matrix"><tr><th></th>{% for name in one.classes %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in one.matrix %}<tr><th>{{ one.classes[loop.index0] }}</th>
{% for cell in row %}<td style="background: rgba(var(--{{ cell.colour }}), {{ cell.share }})">{{ cell.count or "" }}</td>
{% endfor %}</tr>{% endfor %}</table></div>{% endif %}
<h2>{{ one.of }}Most frequent confusions</h2>
{% if one.pairs %}<table><tr><th>true</th><th>predicted</th><th>rows</th></tr>{% for pair in one.pairs %}
<tr><td>{{ pair[0] }}</td><td>{{ pair[1] }}</td><td>{{ pair[2] }}</td></tr>{% endfor %}</table>
{% else %}<p>None: every test row was predicted right.</p>{% endif %}
{% elif one.kind == "table" %}<h2>{{ one.of }}{{ one.title }}</h2><div class="scroll"><table>
<tr>{% for name in one.head %}<th>{{ name }}</th>{% endfor %}</tr>{% for row in one.rows %}<tr>
{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table></div>
{% if one.note %}<p class="dim">{{ one.note }}</p>{% endif %}
{% elif one.kind == "gallery" %}<h2>{{ one.of }}{{ one.title }}</h2><div class="scroll"><table>
<tr>{% for name in one.head %}<th>{{ name }}</th>{% endfor %}</tr>{% for row in one.rows %}<tr><td>{{ row[0] }}</td>
{% for source in row[1:] %}<td><img class="map" src="{{ source }}" alt="{{ one.head[loop.index] }} of {{ row[0] }}"></td>
{% endfor %}</tr>{% endfor %}</table></div>
{% elif one.kind == "words" %}<h2>{{ one.of }}{{ one.title }}</h2><p class="dim">Green speaks for the answer, red against it.</p>
{% for text in one.texts %}<p class="words"><b>{{ text.answer }}</b>{% for word, weight in text.words %}
<span style="background: rgba(var(--{{ 'good' if weight > 0 else 'bad' }}), {{ (0.6 * weight)|abs|round(2) }})">{{ word }}</span>
{% endfor %}</p>{% endfor %}
{% elif one.kind == "pictures" %}<h2>{{ one.of }}{{ one.title }}</h2><p>{% for source in one.sources %}
<img class="small" src="{{ source }}" alt="{{ one.title }} {{ loop.index }}">{% endfor %}</p>
{% elif one.kind == "shares" %}<div class="plot"><h2>{{ one.of }}{{ one.title }}</h2>
<svg viewBox="0 0 {{ one.width }} {{ one.height }}" role="img" aria-label="{{ one.title }}">{% for bar in one.bars %}
<text x="{{ bar.x - 6 }}" y="{{ bar.y + 11 }}" text-anchor="end">{{ bar.name }}</text>
<rect x="{{ bar.x }}" y="{{ bar.y }}" width="{{ bar.width }}" height="14"/>
<text x="{{ bar.x + bar.width + 6 }}" y="{{ bar.y + 11 }}">{{ bar.text }}</text>{% endfor %}</svg></div>
{% else %}<div class="plot"><h2>{{ one.of }}{{ one.title }}</h2><svg viewBox="0 0 {{ one.width }} {{ one.height }}" role="img"
aria-label="{{ one.title }}">{{ axes(one) }}
{% for bar in one.bars %}<rect x="{{ bar.x }}" y="{{ bar.y }}" width="{{ bar.width }}" height="{{ bar.height }}"/>
{% endfor %}{% if one.line %}<path d="{{ one.line }}" stroke="var(--dim)" stroke-dasharray="4 3" fill="none"/>{% endif %}
{% for dot in one.dots %}<circle cx="{{ dot[0] }}" cy="{{ dot[1] }}" r="2.5"/>{% endfor %}
{% for curve in one.curves %}<path d="{{ curve.path }}" style="stroke: {{ curve.colour }}" stroke-width="1.75" fill="none"/>
{% if one.curves|length > 1 %}<text x="{{ one.right - 4 }}" y="{{ one.legend + 14 * loop.index0 }}" text-anchor="end"
style="fill: {{ curve.colour }}">{{ curve.name }}</text>{% endif %}{% endfor %}</svg>
{% if one.note %}<p class="dim">{{ one.note }}</p>{% endif %}</div>{% endif %}
{% endmacro %}
"""
"""Jinja text that comes before a page's own, and offers `figure(one)` of what `laid_out` gives."""


def laid_out(figure: Mapping[str, Any]) -> dict[str, Any]:
    """A figure with the places of what is drawn."""
    places = {
        "confusion": _confusion,
        "scatter": _scatter,
        "points": _points,
        "curves": _curves,
        "histogram": _histogram,
        "shares": _shares,
        "pictures": _pictures,
        "gallery": _gallery,
    }
    # A table is drawn as it is.
    made = places[figure["kind"]](figure) if figure["kind"] in places else dict(figure)
    return {"note": ""} | made | {"of": f"{figure['of']}: " if "of" in figure else ""}


def _pictures(figure: Mapping[str, Any]) -> dict[str, Any]:
    """`pictures`, each a list of rows of pixels of 1 or 3 shades (0 to 255)."""
    return {**figure, "sources": [_source(shades) for shades in figure["pictures"]]}


def _gallery(figure: Mapping[str, Any]) -> dict[str, Any]:
    """`rows` of a name and some pictures, as in `pictures`."""
    return {**figure, "rows": [[name, *map(_source, pictures)] for name, *pictures in figure["rows"]]}


def _source(shades: Any) -> str:
    import io

    import numpy as np
    from PIL import Image

    pixels, buffer = np.array(shades, np.uint8), io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return data_uri(buffer.getvalue())


def _confusion(figure: Mapping[str, Any]) -> dict[str, Any]:
    """`counts[true][predicted]` of `classes`."""
    classes, counts = figure["classes"], figure["counts"]
    pairs = [
        (classes[true], classes[predicted], count)
        for true, row in enumerate(counts)
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
        for true, row in enumerate(counts)
    ]
    return {
        "kind": "confusion",
        "classes": classes,
        "columns": figure.get("columns", "the predicted one"),
        "matrix": matrix if len(classes) <= MOST_CLASSES else [],
        "pairs": sorted(pairs, key=lambda pair: -pair[2])[:MOST_PAIRS],
    }


def _scatter(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Points `x`, `y` in one unit, with the line on which they are equal."""
    low, high = min(*figure["x"], *figure["y"]), max(*figure["x"], *figure["y"])
    reach = (low, high if high > low else low + 1)
    plot = _plot(figure["title"], reach, reach, ("true", "predicted"))
    across, up = _across(reach), _up(reach)
    dots = [(across(x), up(y)) for x, y in zip(figure["x"], figure["y"], strict=True)]
    line = f"M{across(reach[0])} {up(reach[0])}L{across(reach[1])} {up(reach[1])}"
    return plot | {"dots": dots, "line": line}


def _points(figure: Mapping[str, Any]) -> dict[str, Any]:
    """`points`, pairs of numbers of two units that `names` names, and a `line` through others."""
    wide, tall = (_reach([one[at] for one in (*figure["points"], *figure["line"])]) for at in (0, 1))
    across, up = _across(wide), _up(tall)
    dots = [(across(x), up(y)) for x, y in figure["points"]]
    line = "L".join(f"{across(x)} {up(y)}" for x, y in figure["line"])
    return _plot(figure["title"], wide, tall, figure["names"]) | {"dots": dots, "line": line and f"M{line}"}


def _curves(figure: Mapping[str, Any]) -> dict[str, Any]:
    """`curves`, each name's points in order, of two units that `names` names; `line` is drawn beside them."""
    every = [one for points in figure["curves"].values() for one in points] + list(figure.get("line", ()))
    wide, tall = (_reach([one[at] for one in every]) for at in (0, 1))
    across, up = _across(wide), _up(tall)

    def path(points: Sequence[Sequence[float]]) -> str:
        return "M" + "L".join(f"{across(x)} {up(y)}" for x, y in points)

    drawn = [
        {"name": name, "path": path(points), "colour": COLOURS[at % len(COLOURS)]}
        for at, (name, points) in enumerate(figure["curves"].items())
    ]
    return _plot(figure["title"], wide, tall, figure["names"]) | {
        "curves": drawn,
        "line": path(figure["line"]) if figure.get("line") else "",
        # Names stand at the right, where the curves are not.
        "legend": 30
        if sum(points[-1][1] for points in figure["curves"].values()) / len(drawn) < sum(tall) / 2
        else 220,
        "note": figure.get("note", ""),
    }


def _reach(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _histogram(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Bars of `heights` between `edges`, which are numbers `of` something."""
    edges, heights = figure["edges"], figure["heights"]
    wide, tall = (edges[0], edges[-1]), (0.0, float(max([*heights, 1])))
    across, up = _across(wide), _up(tall)
    bars = [
        {
            "x": across(left),
            "y": up(height),
            "width": max(across(right) - across(left) - 1, 0.5),
            "height": up(0) - up(height),
        }
        for left, right, height in zip(edges, edges[1:], heights, strict=False)
    ]
    return _plot(figure["title"], wide, tall, (figure["of"], "rows")) | {"bars": bars}


def _shares(figure: Mapping[str, Any]) -> dict[str, Any]:
    """A bar for each of `shares`, pairs of a name and its part of one; the largest is the uppermost."""
    left = round(min(0.6 * WIDTH, max(7.0 * len(name) for name, _ in figure["shares"]) + 12))
    bars = [
        {
            "x": left,
            "y": 24 * at + 5,
            "width": round(share * (WIDTH - left - 48), 1),
            "name": name,
            "text": f"{100 * share:.0f} %",
        }
        for at, (name, share) in enumerate(sorted(figure["shares"], key=lambda one: -one[1]))
    ]
    return {"kind": "shares", "title": figure["title"], "bars": bars, "width": WIDTH, "height": 24 * len(bars) + 8}


def _plot(title: str, wide: tuple[float, float], tall: tuple[float, float], names: tuple[str, str]) -> dict[str, Any]:
    across, up = _across(wide), _up(tall)
    return {
        "kind": "plot",
        "title": title,
        "x_name": names[0],
        "y_name": names[1],
        "width": WIDTH,
        "height": HEIGHT,
        "left": MARGIN,
        "right": WIDTH - 16,
        "top": 22,
        "bottom": HEIGHT - MARGIN,
        "across": [{"at": across(one), "text": f"{one:.4g}"} for one in _marks(wide)],
        "up": [{"at": up(one), "text": f"{one:.4g}"} for one in _marks(tall)],
        "bars": [],
        "dots": [],
        "curves": [],
        "line": "",
    }


def _marks(reach: tuple[float, float]) -> Sequence[float]:
    """Some round numbers in between: steps of 1, 2 or 5 times a power of ten."""
    low, high = reach
    rough = (high - low) / MARKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough)
    return [step * at for at in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _across(reach: tuple[float, float]) -> Any:
    low, high = reach
    return lambda value: round(MARGIN + (value - low) / (high - low) * (WIDTH - 16 - MARGIN), 1)


def _up(reach: tuple[float, float]) -> Any:
    low, high = reach
    return lambda value: round(HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - MARGIN - 22), 1)

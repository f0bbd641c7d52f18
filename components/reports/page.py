"""The one builder of HTML pages: self-contained, autoescaped, without scripts, under a policy that allows none."""

import base64

from jinja2 import DictLoader, Environment, StrictUndefined

STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1c2430, #e6e9ee); --dim: light-dark(#5c6675, #9aa4b2);
  --line: light-dark(#dfe3e8, #363d48); --card: light-dark(#f6f7f9, #1d222a); --good: 20, 120, 90; --bad: 190, 70, 50; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: light-dark(#fff, #14181e);
  max-width: 60rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .75rem; }
p.sub { color: var(--dim); margin: 0 0 1.5rem; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--dim); } th:first-child, td:first-child { text-align: left; }
table.matrix td, table.matrix th { text-align: center; min-width: 2.2rem; padding: .4rem; border: 1px solid var(--line); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .75rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; font-size: .85rem; }
.card img { width: 100%; max-height: 9rem; object-fit: contain; image-rendering: pixelated; background: #000;
  border-radius: .25rem; }
img.small { width: 3.5rem; image-rendering: pixelated; border-radius: .25rem; } svg { max-width: 34rem; width: 100%; font-size: 11px; fill: var(--dim); }
svg circle { fill: rgb(var(--good)); fill-opacity: .45; } svg rect { fill: rgb(var(--good)); }
img.map { width: 6rem; image-rendering: pixelated; border: 1px solid var(--line); }
.plot { display: inline-block; width: 48%; min-width: 20rem; vertical-align: top; } .words { line-height: 1.9; }
.words span { padding: .1rem .15rem; border-radius: .2rem; } .words b { margin-right: .5rem; }
.card b { display: block; margin-top: .4rem; } .dim { color: var(--dim); overflow-wrap: anywhere; }
"""

BASE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ title }}</title>
<style>{{ style }}</style></head><body><h1>{{ title }}</h1><p class="sub">{{ subtitle }}</p>
{% block body %}{% endblock %}</body></html>
"""


def page(body: str, *, title: str, subtitle: str, **values: object) -> str:
    """A whole HTML document from the Jinja text `body`, which sees `values`."""
    template = "{% extends 'base' %}{% block body %}" + body + "{% endblock %}"
    environment = Environment(
        loader=DictLoader({"base": BASE, "page": template}), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page").render(title=title, subtitle=subtitle, style=STYLE, **values)


def data_uri(image: bytes) -> str:
    """Encoded image bytes as an address that needs no network."""
    kind = "jpeg" if image[:2] == b"\xff\xd8" else "webp" if image[8:12] == b"WEBP" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"

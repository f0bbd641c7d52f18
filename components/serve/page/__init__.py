"""The page to try a model by hand: three files that ask the server's own routes, and nobody else."""

from functools import cache
from pathlib import Path

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
"""Routes, their files and types."""
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
"""The browser runs no script but ours, and reaches nobody but this server."""


@cache
def page_file(route: str) -> tuple[str, bytes]:
    """Type and bytes of what stands at a route."""
    name, kind = PAGE[route]
    return kind, (Path(__file__).parent / name).read_bytes()

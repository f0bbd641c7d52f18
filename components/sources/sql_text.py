"""Whether SQL text is one read-only statement. Refused before it is sent; the transaction is read-only besides.

Where a quote ends differs by dialect: some take a backslash for an escape, brackets or backticks for quotes, others do
not. Text whose quotes could be read in two ways is refused, so that no command hides in what only looks like a quote.
"""

import re

from components.contracts.errors import ConfigError

TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*"|`(?:[^`'"\\;\[\]/\#$-]|-(?!-))*`|\[[\w .]*\])"""
    r"""|(?P<dollar>\$\w*\$)|(?P<comment>--|/\*|\#)|(?P<word>[^\W\d]\w*)|(?P<end>;)|(?P<open>['"`])|(?P<other>.)""",
    re.DOTALL,
)
ESCAPED = re.compile(r"""\\['"]""")
WRITING = frozenset({
    "alter", "analyze", "attach", "begin", "call", "cluster", "comment", "commit", "copy", "create", "delete", "detach",
    "do", "drop", "exec", "execute", "export", "grant", "handler", "import", "insert", "install", "into", "listen",
    "load", "lock", "merge", "notify", "pragma", "prepare", "reindex", "rename", "replace", "reset", "revoke",
    "rollback", "savepoint", "set", "truncate", "update", "upsert", "use", "vacuum",
})  # fmt: skip
"""Words that no SELECT needs and that every statement that changes something holds."""


def check_read_only(text: str, place: str) -> None:
    """Raise E_SQL_NOT_READ_ONLY unless `text` is a single SELECT (or WITH … SELECT) without comments."""
    words: list[str] = []
    depth = 0
    for token in TOKEN.finditer(text.strip()):
        kind, found = token.lastgroup, token.group()
        if kind == "comment":
            raise _refused("it holds a comment, which could hide a part of it", found, place)
        if kind == "dollar":
            raise _refused("it holds dollar-quoted text", found, place)
        if kind == "open" or (kind in {"text", "name"} and (ESCAPED.search(found) or (depth and "]" in found))):
            raise _refused("some databases would end this quote elsewhere", found[:40], place)
        depth += {"[": 1, "]": -1}.get(found, 0)
        if kind == "end":
            raise _refused("it holds a semicolon; one statement is read", found, place)
        if kind == "word":
            words.append(found.lower())
    if depth:
        raise _refused("its brackets do not pair", "[", place)
    if not words or words[0] not in {"select", "with", "values", "table"}:
        raise _refused("it is no SELECT", text[:40], place)
    wrong = next((word for word in words if word in WRITING), None)
    if wrong is not None:
        raise _refused("it may change something", wrong, place)


def _refused(what: str, value: str, place: str) -> ConfigError:
    return ConfigError(
        "E_SQL_NOT_READ_ONLY",
        what,
        place=place,
        value=value,
        allowed="one SELECT; a column named like a command stands in double quotes",
        action="write it so, or make a view and name that in source.table",
    )

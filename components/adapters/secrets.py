"""Credentials by name: a recipe says `secret://name`, and this machine says what that is.

Looked for in the environment variable MILLRACE_SECRET_<NAME>, then in the file <MILLRACE_HOME>/secrets/<name>. A value
is asked for where it is used and never becomes part of a config, a record, a log line or an error.
"""

import os
import re
from pathlib import Path

from components.contracts.errors import ConfigError, EnvironmentFault

REFERENCE = r"^(secret://[a-z0-9][a-z0-9_-]{0,62})?$"
"""What a field that needs a secret may hold."""
VARIABLE = "MILLRACE_SECRET_"


def secret(reference: str, place: str) -> str:
    """The value that `reference` names; "" for none.

    Raises:
        ConfigError: E_SECRET_INLINE, it is no reference.
        EnvironmentFault: E_CREDENTIALS, nobody says what it is; E_PERMISSION, others may read its file.
    """
    if not reference:
        return ""
    if not re.match(REFERENCE, reference):
        raise ConfigError(
            "E_SECRET_INLINE", "a secret is named, not written", place=place, action="write secret://name there"
        )
    name = reference.removeprefix("secret://")
    variable = VARIABLE + name.upper().replace("-", "_")
    if variable in os.environ:
        return os.environ[variable]
    file = Path(os.environ.get("MILLRACE_HOME", ".millrace")).absolute() / "secrets" / name
    if file.is_file():
        if file.stat().st_mode & 0o077:
            raise EnvironmentFault(
                "E_PERMISSION", "others may read this secret", place=place, value=str(file), action=f"chmod 600 {file}"
            )
        return file.read_text().strip("\n")
    raise EnvironmentFault(
        "E_CREDENTIALS",
        f"nobody says what {reference} is",
        place=place,
        action=f"set {variable}, or write it into {file} (chmod 600)",
    )

"""What an artifact says, apart from how it was made: what decides whether the next step is run again."""

from typing import Any

from components.contracts.artifacts import Artifact, Part
from components.contracts.config import Frozen


def content_of(value: Any) -> Any:
    """What `value` says, without where its bytes lie: parts by digest, inner artifacts by content."""
    if isinstance(value, Part):
        return [value.digest, value.rows]
    if isinstance(value, Frozen):
        skip = {"fingerprint", "content", "files", "ledger"}
        return {
            name: inner.content if isinstance(inner := getattr(value, name), Artifact) else content_of(inner)
            for name in type(value).model_fields
            if name not in skip
        }
    if isinstance(value, dict):
        return {key: content_of(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [content_of(item) for item in value]
    return value

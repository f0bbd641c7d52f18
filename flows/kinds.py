"""A field of a recipe whose class hangs on its `kind`: resolved through the registries when a recipe names it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from components.contracts.registry import load_kind

MARK = "x-millrace-kinds"
"""Where schema.py puts the schemas of a package's kinds."""


@dataclass(frozen=True, eq=False)
class Kinds:
    """The kinds of one components package, as pydantic metadata."""

    package: str
    kinds: Mapping[str, str]

    def load(self, value: Any) -> Any:
        """The class that `value`, a mapping, names.

        Raises:
            ConfigError: E_CONFIG, there is no such kind.
        """
        return load_kind(f"components.{self.package}", self.kinds, value, self.package)

    def _choose(self, value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value
        if not isinstance(value, dict):
            raise ValueError("this needs keys, first of all `kind`")  # noqa: TRY004 - pydantic collects this one
        return self.load(value).model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Any config of these kinds."""
        return core_schema.no_info_before_validator_function(self._choose, handler(source))

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        """A mark for schema.py, since giving the schemas here would import every kind."""
        return {MARK: self.package}

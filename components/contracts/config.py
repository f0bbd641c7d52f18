"""The base of every config: frozen, strict, and split into what it is and where it runs.

A field made by `placed` says where (a folder, a device, a host) and never enters a fingerprint; every other field
does. Not here: loading recipes (flows/pipeline.py), and what a particular step wants to know.
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PLACED = "placement"


class Frozen(BaseModel):
    """A value: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class StepConfig(Frozen):
    """What a person sets of a step, a source, a feature, a model or an objective."""


class CustomConfig(StepConfig):
    """The base of a source, operation, feature, model or objective of your own: `kind: custom` and `target` name it."""

    kind: Literal["custom"] = "custom"
    target: str = Field(description="where it is, as package.module:Class; its other fields stand beside it")


def custom_modules(value: Any) -> set[str]:
    """The modules that custom configs inside `value` name: that of the target, and that of its class."""
    if isinstance(value, CustomConfig):
        inner = custom_modules([getattr(value, name) for name in type(value).model_fields])
        return {value.target.partition(":")[0], type(value).__module__, *inner}
    if isinstance(value, BaseModel):
        return custom_modules([getattr(value, name) for name in type(value).model_fields])
    if isinstance(value, dict):
        return custom_modules(list(value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(custom_modules, value))
    return set()


def placed(default: Any = ..., **settings: Any) -> Any:
    """A pydantic field that says where and not what: left out of every fingerprint."""
    return Field(default, json_schema_extra={PLACED: True}, **settings)


def identity(value: Any) -> Any:
    """`value` as JSON-able data with class names and without placement, the form that is hashed."""
    if isinstance(value, BaseModel):
        fields = {
            name: identity(getattr(value, name))
            for name, field in type(value).model_fields.items()
            if not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get(PLACED))
        }
        return {"": type(value).__qualname__, **fields}
    if isinstance(value, dict):
        return {str(key): identity(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [identity(item) for item in value]
    return value


def config_classes(value: Any) -> Iterator[type[BaseModel]]:
    """The class of every config inside `value`, outermost first."""
    if isinstance(value, BaseModel):
        yield type(value)
        for name in type(value).model_fields:
            yield from config_classes(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from config_classes(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from config_classes(item)

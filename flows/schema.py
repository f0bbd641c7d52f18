"""The JSON Schema of recipes, for editors and forms: every kind with its keys, bounds and descriptions."""

from importlib import import_module
from typing import Any

from components.contracts.config import CustomConfig
from components.contracts.registry import MARK, load_kind
from flows.pipeline import PipelineConfig
from flows.recipe_files import EXTENDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = "#/$defs/{model}"
PARTIAL = "partial."
EXTENDED = "another recipe, by name, path or address; this one varies it"


def recipe_schema() -> dict[str, Any]:
    """The schema of a recipe file. One that extends another may leave out, at every level, what the other says."""
    schema = PipelineConfig.model_json_schema(by_alias=True, ref_template=REFERENCE)
    definitions = schema.pop("$defs")
    whole = _filled(schema, definitions)
    whole["title"] = "A recipe that stands alone"
    definitions["Recipe"] = whole
    parts = {f"{PARTIAL}{name}": _partial(one) for name, one in definitions.items()}
    varied = parts[f"{PARTIAL}Recipe"]
    varied["title"] = "A recipe that extends another"
    varied["required"] = [EXTENDS, "name"]
    varied["properties"] = {EXTENDS: {"type": "string", "description": EXTENDED}, **varied["properties"]}
    return {
        "$schema": DIALECT,
        "$id": "urn:millrace:recipe",
        "title": "Millrace recipe",
        "if": {"required": [EXTENDS]},
        "then": {"$ref": REFERENCE.format(model=f"{PARTIAL}Recipe")},
        "else": {"$ref": REFERENCE.format(model="Recipe")},
        "$defs": dict(sorted((definitions | parts).items())),
    }


def _partial(node: Any) -> Any:
    """`node` with nothing required, also in what it refers to: the rest is said by the recipe that is extended."""
    if isinstance(node, list):
        return [_partial(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key not in {"required", "discriminator"}}
    made = {"anyOf" if key == "oneOf" else key: _partial(value) for key, value in kept.items()}
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].replace("#/$defs/", f"#/$defs/{PARTIAL}")
    if isinstance(node.get("properties"), dict):
        made["properties"] = {key: _partial(value) for key, value in node["properties"].items()}
    return made


def _filled(node: Any, definitions: dict[str, Any]) -> Any:
    """`node` with a reference to a package's kinds at each of their marks."""
    if isinstance(node, list):
        return [_filled(one, definitions) for one in node]
    if not isinstance(node, dict):
        return node
    if MARK in node:
        rest = {key: value for key, value in node.items() if key != MARK}
        return {**rest, "$ref": REFERENCE.format(model=_kinds(node[MARK], definitions))}
    return {key: _filled(value, definitions) for key, value in node.items()}


def _kinds(package: str, definitions: dict[str, Any]) -> str:
    if package not in definitions:
        registry = import_module(f"components.{package}").KINDS
        # There before its kinds are: one of them may hold others.
        definitions[package] = {}
        definitions[package]["anyOf"] = [
            *({"$ref": _of_kind(package, registry, kind, definitions)} for kind in registry),
            {"$ref": _custom(definitions)},
        ]
    return package


def _of_kind(package: str, registry: dict[str, str], kind: str, definitions: dict[str, Any]) -> str:
    schema = load_kind(f"components.{package}", registry, {"kind": kind}, package).model_json_schema(
        ref_template=REFERENCE
    )
    definitions |= _filled(schema.pop("$defs", {}), definitions)
    schema = _filled(schema, definitions)
    name = f"{package}.{kind}"
    definitions[name] = {**schema, "required": sorted({"kind", *schema.get("required", ())})}
    return REFERENCE.format(model=name)


def _custom(definitions: dict[str, Any]) -> str:
    schema = CustomConfig.model_json_schema()
    definitions["custom"] = {**schema, "required": ["kind", "target"], "additionalProperties": True}
    return REFERENCE.format(model="custom")

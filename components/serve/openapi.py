"""The OpenAPI document of a server, made from its models' signatures."""

from collections.abc import Sequence
from typing import Any

from components.contracts.spec import Column
from components.serve.hosting import Hosted
from components.serve.wire import BYTES

CELLS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "int64": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    # What 32 bits hold: networks compute with those.
    "float64": {"type": "number", "minimum": -3.4e38, "maximum": 3.4e38},
    "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "timestamp": {"type": "string", "format": "date-time"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "image": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"},
    "audio": {"type": "string", "contentEncoding": "base64", "contentMediaType": "audio/*"},
    "floats": {"type": "array", "items": {"type": "number"}},
    "strings": {"type": "array", "items": {"type": "string"}},
}
TOLD = {"string": "string", "long": "integer", "double": "number", "boolean": "boolean"}
REFUSALS = {
    "400": "the body is not what the model needs: error_code and message say what and where",
    "401": "the token is missing or wrong",
    "404": "this server has no such model",
    "408": "the body came too slowly",
    "413": "the body has too many bytes or rows",
    "415": "the body is neither JSON nor CSV",
    "422": "a row misses what the model needs",
    "429": "too much waits already: try again after Retry-After seconds",
    "503": "no answer in time, or the server ends",
}


def described(hosted: Sequence[Hosted]) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {
        "Error": {
            "type": "object",
            "required": ["error_code", "message", "request_id"],
            "properties": {name: {"type": "string"} for name in ("error_code", "message", "request_id")},
        }
    }
    for one in hosted:
        row, answer = f"{one.name}.row", f"{one.name}.answer"
        schemas[row] = _row(one.columns)
        schemas[answer] = _answer(one.outputs)
        path = "/invocations" if len(hosted) == 1 else f"/models/{one.name}/invocations"
        paths[path] = {"post": _invocation(one, row, answer)}
        paths[path.replace("invocations", "explain")] = {"post": _explain(one, row, answer)}
    for path, said in (("/ping", "whether the server answers"), ("/version", "which versions answer")):
        paths[path] = {"get": {"summary": said, "responses": {"200": {"description": said}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Millrace", "version": ", ".join(f"{one.name} {one.place.version}" for one in hosted)},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _invocation(one: Hosted, row: str, answer: str) -> dict[str, Any]:
    rows = {"type": "array", "minItems": 1, "items": {"$ref": f"#/components/schemas/{row}"}}
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"const": [column.name for column in one.columns]},
            "data": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "array",
                    "prefixItems": [_cell(column) for column in one.columns],
                    "minItems": len(one.columns),
                    "maxItems": len(one.columns),
                },
            },
        },
    }
    forms = [("dataframe_split", split), ("dataframe_records", rows), ("inputs", rows), ("instances", rows)]
    told = {"type": "array", "items": {"$ref": f"#/components/schemas/{answer}"}}
    return {
        "summary": f"Answers of {one.name} version {one.place.version}",
        "x-row": row,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "oneOf": [
                            {"type": "object", "required": [name], "properties": {name: schema}}
                            for name, schema in forms
                        ]
                    },
                    "example": {"dataframe_split": {name: one.example[name] for name in ("columns", "data")}},
                },
                "text/csv": {"schema": {"type": "string"}},
                "multipart/form-data": {"schema": _form(one.columns)},
            },
        },
        "responses": {
            "200": {
                "description": "an answer for each row, in their order",
                "content": {"application/json": {"schema": {"type": "object", "properties": {"predictions": told}}}},
            },
            **_refusals(),
        },
    }


def _explain(one: Hosted, row: str, answer: str) -> dict[str, Any]:
    records = {"type": "array", "minItems": 1, "maxItems": 1, "items": {"$ref": f"#/components/schemas/{row}"}}
    body = {"type": "object", "required": ["dataframe_records"], "properties": {"dataframe_records": records}}
    weight = {"type": "object", "properties": {"name": {"type": "string"}, "weight": {"type": "number"}}}
    said = {
        "type": "object",
        "required": ["answer", "classes", "explanation", "why_not"],
        "properties": {
            "answer": {"$ref": f"#/components/schemas/{answer}"},
            "classes": {"type": "array", "items": {"type": "string"}},
            "explanation": {
                "type": ["object", "null"],
                "properties": {
                    "towards": {"type": "string"},
                    "columns": {"type": "array", "items": weight},
                    "words": {"type": "array"},
                    "pictures": {"type": "array"},
                },
            },
            "why_not": {"type": "string"},
        },
    }
    return {
        "summary": f"An answer of {one.name} version {one.place.version}, and what speaks for it",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "one answer", "content": {"application/json": {"schema": said}}},
            **_refusals(),
        },
    }


def _refusals() -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": said, "content": content} for status, said in REFUSALS.items()}


def _row(columns: Sequence[Column]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [one.name for one in columns if not one.nullable],
        "properties": {one.name: _cell(one) for one in columns},
    }


def _form(columns: Sequence[Column]) -> dict[str, Any]:
    cells = {one.name: {"type": "string", **({"format": "binary"} if one.type in BYTES else {})} for one in columns}
    return {"type": "object", "required": [one.name for one in columns if not one.nullable], "properties": cells}


def _cell(column: Column) -> dict[str, Any]:
    return {"anyOf": [CELLS[column.type], {"type": "null"}]} if column.nullable else CELLS[column.type]


def _answer(outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "object", "properties": {one["name"]: _told(one) for one in outputs}}


def _told(one: dict[str, Any]) -> dict[str, Any]:
    if one["type"] == "array":
        return {"type": "array", "items": _told(one["items"])}
    return {"type": TOLD.get(one["type"], "string")}

"""The pieces that descriptions of requests and answers are built of (JSON Schema 2020-12, as OpenAPI 3.1 has it)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
# method, path, what it does, query, request schema, status, answer schema
Operation: TypeAlias = tuple[str, str, str, Mapping[str, Schema], str, int, str]

ID: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 100}
TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
SEQ: Final[Schema] = {"type": "integer", "minimum": -1, "maximum": 9007199254740991}
FLAG: Final[Schema] = {"type": "boolean"}
TEXTS: Final[Schema] = {"type": "array", "items": TEXT}


def closed(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object with these fields and no other: what we are sent."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": dict(properties),
    }


def opened(**properties: Schema) -> Schema:
    """An object that has at least these fields: what we answer, and may add to."""
    return {"type": "object", "required": list(properties), "properties": dict(properties)}


def list_of(name: str, item: str, **more: Schema) -> Schema:
    """An answer whose one list holds items of a schema."""
    return opened(**{name: {"type": "array", "items": ref(item)}}, **more)


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}

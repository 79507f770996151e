"""Reading what programs send: a strict, bounded JSON body against the operation's schema, and closed parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs
from litestar.response import Response

from app.domain.canonical import strict_loads
from app.domain.errors import InvalidInput, NotFound
from app.domain.ids import is_run_id
from app.domain.run import Run
from app.web.context import Req, web_of
from app.web.openapi import REQUESTS, query_of
from app.web.openapi_people import PAGE_REQUESTS

ROOT: Final = "/api/v1"
MOST: Final = 500
LIMIT: Final = 100
_MOST_DEPTH: Final = 16
_MOST_DEPTH_EDITED: Final = 64
_MOST_NUMBER: Final = 2**53 - 1
_SCHEMAS: Final = {**REQUESTS, **PAGE_REQUESTS}
_CHECKS: Final = {name: jsonschema_rs.validator_for(dict(schema)) for name, schema in _SCHEMAS.items()}

Json = Response[dict[str, Any]]


class Unprocessable(InvalidInput):
    """It is JSON, and not what this operation takes; the message names the field."""

    code = "SCHEMA_VIOLATION"
    status = 422


async def body_of(request: Req, schema: str) -> Mapping[str, Any]:
    """The request's JSON, checked. Raises InvalidInput (400), TooLarge (413), Unprocessable (422)."""
    data = await request.body()
    if not data and not REQUESTS[schema].get("required"):
        return {}
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise InvalidInput("the body is sent as application/json")
    # Edited arguments are as deep as a tool's may be; all else that is sent is flat.
    depth = _MOST_DEPTH_EDITED if "edited" in _SCHEMAS[schema]["properties"] else _MOST_DEPTH
    value = strict_loads(data, max_bytes=web_of(request).settings.body_limit, max_depth=depth)
    for error in _CHECKS[schema].iter_errors(value):
        raise Unprocessable(_words(error))
    checked: dict[str, Any] = value
    return checked


def _words(error: jsonschema_rs.ValidationError) -> str:
    """Which field is wrong and by which rule; its value is never repeated."""
    where = ".".join(str(part) for part in error.instance_path)[:100]
    rule = str(error.schema_path[-1]) if error.schema_path else "type"
    rules = {
        "additionalProperties": "has a field that is not known here",
        "required": "lacks a field that is needed",
        "type": "is of another type",
        "enum": "is none of the values that are taken",
        "pattern": "is not of the form that is taken",
        "maxLength": "is too long",
        "minLength": "is too short",
        "minimum": "is too small",
        "maximum": "is too large",
        "minItems": "is empty",
        "maxItems": "holds too many",
        "uniqueItems": "names one twice",
    }
    return f"{where or 'the body'} {rules.get(rule, 'does not fit the schema')}"


def query_at(request: Req, path: str) -> dict[str, str]:
    """The query parameters of a GET operation. Raises InvalidInput for one that is not known, or that came twice."""
    allowed = query_of("get", path)
    found = dict(request.query_params)
    for name in found:
        if name not in allowed:
            raise InvalidInput(f"the parameter {name[:40]!r} is not known here")
    if any(len(request.query_params.getall(name)) > 1 for name in found):
        raise InvalidInput("a parameter came twice")
    return found


def number_in(text: str | None, default: int, low: int = 0, high: int = _MOST_NUMBER) -> int:
    """A whole number of a query. Raises InvalidInput."""
    if text is None:
        return default
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(text) > 17 or not low <= int(text) <= high:
        raise InvalidInput(f"a number from {low} to {high} is expected")
    return int(text)


async def run_at(request: Req, run: str) -> Run:
    """The run of a path. Raises NotFound."""
    if not is_run_id(run):
        raise NotFound("there is no such run")
    return await web_of(request).services.runs.get(run)

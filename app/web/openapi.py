"""The description of the REST API (OpenAPI 3.1). Requests are checked with the schemas that stand here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.web import openapi_people

Schema = Mapping[str, Any]

ID: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 100}
TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
SEQ: Final[Schema] = {"type": "integer", "minimum": -1, "maximum": 9007199254740991}
FLAG: Final[Schema] = {"type": "boolean"}


def _closed(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": dict(properties),
    }


def _open(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": dict(properties)}


def _list(name: str, item: str, **more: Schema) -> Schema:
    return _open(**{name: {"type": "array", "items": ref(item)}}, **more)


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


REQUESTS: Final[dict[str, Schema]] = {
    "StartRun": _closed(
        ("blueprint",),
        blueprint={"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"},
        task={"type": "string", "maxLength": 200000},
        title={"type": "string", "maxLength": 200},
        budget_micro={"type": "integer", "minimum": 1, "maximum": 10_000_000_000},
    ),
    "SteerRun": _closed(
        ("text",),
        text={"type": "string", "minLength": 1, "maxLength": 16000},
        mode={"enum": ["queue", "steer", "interrupt"]},
        client_id={"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"},
    ),
    "AnswerItem": _closed(
        ("answer",),
        answer={"enum": ["allow", "deny", "dismiss"]},
        reason={"type": "string", "maxLength": 2000},
    ),
    "CreateToken": _closed(("name",), name={"type": "string", "minLength": 1, "maxLength": 60}),
    "Empty": _closed(),
    **openapi_people.REQUESTS,
}

ANSWERS: Final[dict[str, Schema]] = {
    "Error": _open(error=_open(code=TEXT, message=TEXT, reason_code=TEXT, receipt_id=TEXT)),
    "Run": _open(
        **dict.fromkeys(("id", "title", "status", "blueprint", "agent", "model", "policy", "policy_digest"), TEXT),
        **dict.fromkeys(("by", "opened", "heard", "closed", "reason_code", "message"), TEXT),
        **dict.fromkeys(("no", "turn", "budget_micro", "spent_micro", "reserved_micro"), COUNT),
        **dict.fromkeys(("input_tokens", "output_tokens", "tool_calls", "denied", "unknown"), COUNT),
        **dict.fromkeys(("first_seq", "last_seq"), COUNT),
        waiting={"type": "array", "items": TEXT},
    ),
    "Runs": _list("runs", "Run", next=COUNT),
    "Item": _open(
        **dict.fromkeys(("key", "kind", "approval", "action", "run", "run_title", "title", "tool", "target"), TEXT),
        **dict.fromkeys(("agent", "risk", "rule", "reason_code", "grade", "args_digest", "opened", "expires"), TEXT),
        **dict.fromkeys(("state", "answer", "answered_by", "answered", "reason", "receipt_id"), TEXT),
        seq=COUNT,
        available={"type": "array", "items": TEXT},
    ),
    "ItemInFull": {"allOf": [{"$ref": "#/components/schemas/Item"}, _open(input=TEXT)]},
    "Inbox": _list("items", "Item"),
    "Message": _open(
        **dict.fromkeys(("id", "mode", "by", "state"), TEXT),
        **dict.fromkeys(("queued_seq", "delivered_seq", "seen_seq"), COUNT),
    ),
    "Event": _open(
        **dict.fromkeys(("run", "id", "name", "ts"), TEXT),
        **dict.fromkeys(("seq", "run_seq"), COUNT),
        actor=_open(type=TEXT, id=TEXT),
        refs={"type": "object", "additionalProperties": TEXT},
        body={"type": "object"},
    ),
    "Events": _list("events", "Event", head=SEQ),
    "Receipt": _open(seq=COUNT, id=TEXT, line=TEXT, event=ref("Event")),
    "Stopped": _open(run=ref("Run"), killed={"type": "array", "items": TEXT}),
    "Blueprint": _open(**dict.fromkeys(("name", "title", "description", "model", "policy", "task", "digest"), TEXT)),
    "Blueprints": _list("blueprints", "Blueprint"),
    "Health": _open(
        ok=FLAG,
        **dict.fromkeys(("ledger", "door", "policies", "version", "log"), TEXT),
        engine=_open(ok=FLAG, version=TEXT, reason=TEXT, remedy=TEXT),
        providers={"type": "object", "additionalProperties": FLAG},
        slots=_open(used=COUNT, total=COUNT),
        **dict.fromkeys(("size", "spent_today_micro"), COUNT),
    ),
    "Version": _open(version=TEXT),
    "Head": _open(log=TEXT, size=COUNT, head=SEQ, fault=TEXT),
    "Token": _open(id=TEXT, name=TEXT, created_ms=COUNT, seen_ms=COUNT),
    "NewToken": _open(id=TEXT, name=TEXT, created_ms=COUNT, seen_ms=COUNT, token=TEXT),
    "Tokens": _list("tokens", "Token"),
    "Ticket": _open(ticket=TEXT),
    **openapi_people.ANSWERS,
}

_RUN: Final = ("run", ID)
# method, path, what it does, path parameter, query, request schema, status, answer schema
_OPERATIONS: Final[tuple[tuple[str, str, str, Mapping[str, Schema], str, int, str], ...]] = (
    (
        *("get", "/runs", "Runs, the newest first"),
        {"status": TEXT, "blueprint": TEXT, "q": TEXT, "limit": COUNT, "cursor": COUNT},
        *("", 200, "Runs"),
    ),
    ("post", "/runs", "Start a run; durable when this answers", {}, "StartRun", 201, "Run"),
    ("get", "/runs/{run}", "One run", {}, "", 200, "Run"),
    ("post", "/runs/{run}/stop", "Kill a run; answers when its whole tree is gone", {}, "Empty", 200, "Stopped"),
    ("post", "/runs/{run}/steer", "A message to the agent", {}, "SteerRun", 202, "Message"),
    ("get", "/runs/{run}/events", "Events after a number", {"after": SEQ, "limit": COUNT}, "", 200, "Events"),
    ("get", "/receipts/{id}", "A receipt by its id: the signed line and the event", {}, "", 200, "Receipt"),
    ("get", "/inbox", "What waits for a person, by the cost of waiting", {}, "", 200, "Inbox"),
    ("get", "/inbox/{key}", "One item with its whole input, also after it was answered", {}, "", 200, "ItemInFull"),
    (
        "post",
        "/inbox/{key}/answer",
        "Allow once or deny (the first answer wins); dismiss an unknown outcome",
        {},
        "AnswerItem",
        200,
        "ItemInFull",
    ),
    ("get", "/blueprints", "What can be run", {}, "", 200, "Blueprints"),
    ("get", "/blueprints/{name}", "One blueprint", {}, "", 200, "Blueprint"),
    ("get", "/tokens", "Your API tokens, without their secrets", {}, "", 200, "Tokens"),
    ("post", "/tokens", "A new API token; its secret is shown once", {}, "CreateToken", 201, "NewToken"),
    ("post", "/tokens/{id}/revoke", "Revoke a token, at once", {}, "Empty", 200, "Tokens"),
    ("get", "/health", "The state of every part", {}, "", 200, "Health"),
    ("get", "/version", "The version of the server", {}, "", 200, "Version"),
    ("get", "/log", "The head of the log", {}, "", 200, "Head"),
    *openapi_people.OPERATIONS,
)

_ERRORS: Final = {
    "400": "the request cannot be read",
    "401": "no Bearer token, or one that is not valid",
    "403": "the caller's role may not do this",
    "404": "there is no such thing",
    "409": "somebody was faster, or the state has moved on",
    "413": "larger than 1 MiB",
    "422": "a field is missing, unknown or of another type",
    "503": "the log, the engine or the door is not available",
}


def query_of(method: str, path: str) -> Mapping[str, Schema]:
    """The query parameters that an operation takes; others are refused."""
    return next((query for verb, where, _, query, *_ in _OPERATIONS if (verb, where) == (method, path)), {})


def document(version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, summary, query, request, status, answer in _OPERATIONS:
        paths.setdefault("/api/v1" + path, {})[method] = _operation(
            method, path, summary, query, request, status, answer
        )
    ticket = _operation("post", "/live/ticket", "A single-use ticket for /live, good for 30 s", {}, "", 200, "Ticket")
    paths["/live/ticket"] = {"post": ticket}
    paths["/healthz"] = {"get": {**_plain("Whether Helm is well, in one word", "healthz"), "security": []}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Helm", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**REQUESTS, **ANSWERS},
        },
    }


def _plain(summary: str, name: str) -> dict[str, Any]:
    body = {"text/plain": {"schema": {"enum": ["ok", "red"]}}}
    answers = {status: {"description": "one word", "content": body} for status in ("200", "503")}
    return {"summary": summary, "operationId": name, "responses": answers}


def _operation(
    method: str, path: str, summary: str, query: Mapping[str, Schema], request: str, status: int, answer: str
) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": ID} for name in names]
    parameters += [{"name": name, "in": "query", "required": False, "schema": kind} for name, kind in query.items()]
    shown: dict[str, Any] = {
        "summary": summary,
        "operationId": method + "".join(part.strip("{}").capitalize() for part in path.split("/")),
        "parameters": parameters,
        "responses": {str(status): _answer("done", answer)}
        | {code: _answer(text, "Error") for code, text in _ERRORS.items()},
    }
    if request:
        body = {"application/json": {"schema": ref(request)}}
        shown["requestBody"] = {"required": request != "Empty", "content": body}
    return shown


def _answer(text: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": ref(schema)}}}

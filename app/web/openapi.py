"""The description of the REST API (OpenAPI 3.1). Requests are checked with the schemas that stand here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.web import openapi_freeze, openapi_gate, openapi_people, openapi_policy
from app.web.openapi_words import COUNT, FLAG, ID, SEQ, TEXT, TEXTS, Operation, Schema, closed, list_of, opened, ref

REQUESTS: Final[dict[str, Schema]] = {
    "StartRun": closed(
        ("blueprint",),
        blueprint={"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"},
        task={"type": "string", "maxLength": 200000},
        title={"type": "string", "maxLength": 200},
        budget_micro={"type": "integer", "minimum": 1, "maximum": 10_000_000_000},
    ),
    "SteerRun": closed(
        ("text",),
        text={"type": "string", "minLength": 1, "maxLength": 16000},
        mode={"enum": ["queue", "steer", "interrupt"]},
        client_id={"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"},
    ),
    "CreateToken": closed(("name",), name={"type": "string", "minLength": 1, "maxLength": 60}),
    "Empty": closed(),
    **openapi_gate.REQUESTS,
    **openapi_people.REQUESTS,
    **openapi_policy.REQUESTS,
    **openapi_freeze.REQUESTS,
}

ANSWERS: Final[dict[str, Schema]] = {
    "Error": opened(
        error={
            **opened(code=TEXT, message=TEXT, reason_code=TEXT, receipt_id=TEXT),
            "properties": {
                **dict.fromkeys(("code", "message", "reason_code", "receipt_id"), TEXT),
                "approval": {**TEXT, "description": "the question that took this one's place (INPUT_CHANGED)"},
            },
        }
    ),
    "Run": opened(
        **dict.fromkeys(("id", "title", "status", "blueprint", "agent", "model", "policy", "policy_digest"), TEXT),
        **dict.fromkeys(("by", "opened", "heard", "closed", "reason_code", "message"), TEXT),
        **dict.fromkeys(("no", "turn", "budget_micro", "spent_micro", "reserved_micro"), COUNT),
        **dict.fromkeys(("input_tokens", "output_tokens", "tool_calls", "denied", "unknown"), COUNT),
        **dict.fromkeys(("first_seq", "last_seq"), COUNT),
        waiting=TEXTS,
        parked=TEXT,
        evidence={"type": "array", "items": ref("Evidence")},
        owed={"type": "object", "additionalProperties": TEXT},
    ),
    "Runs": list_of("runs", "Run", next=COUNT),
    "Message": opened(
        **dict.fromkeys(("id", "mode", "by", "state"), TEXT),
        **dict.fromkeys(("queued_seq", "delivered_seq", "seen_seq"), COUNT),
    ),
    "Event": opened(
        **dict.fromkeys(("run", "id", "name", "ts"), TEXT),
        **dict.fromkeys(("seq", "run_seq"), COUNT),
        actor=opened(type=TEXT, id=TEXT),
        refs={"type": "object", "additionalProperties": TEXT},
        body={"type": "object"},
    ),
    "Events": list_of("events", "Event", head=SEQ),
    "Receipt": opened(seq=COUNT, id=TEXT, line=TEXT, event=ref("Event")),
    "Stopped": opened(run=ref("Run"), killed=TEXTS),
    "Blueprint": opened(**dict.fromkeys(("name", "title", "description", "model", "policy", "task", "digest"), TEXT)),
    "Blueprints": list_of("blueprints", "Blueprint"),
    "Health": opened(
        ok=FLAG,
        **dict.fromkeys(("ledger", "door", "policies", "version", "log"), TEXT),
        engine=opened(ok=FLAG, version=TEXT, reason=TEXT, remedy=TEXT),
        providers={"type": "object", "additionalProperties": FLAG},
        slots=opened(used=COUNT, total=COUNT),
        **dict.fromkeys(("size", "spent_today_micro"), COUNT),
    ),
    "Version": opened(version=TEXT),
    "Head": opened(log=TEXT, size=COUNT, head=SEQ, fault=TEXT),
    "Token": opened(id=TEXT, name=TEXT, created_ms=COUNT, seen_ms=COUNT),
    "NewToken": opened(id=TEXT, name=TEXT, created_ms=COUNT, seen_ms=COUNT, token=TEXT),
    "Tokens": list_of("tokens", "Token"),
    "Ticket": opened(ticket=TEXT),
    **openapi_gate.ANSWERS,
    **openapi_people.ANSWERS,
    **openapi_policy.ANSWERS,
    **openapi_freeze.ANSWERS,
}

_OPERATIONS: Final[tuple[Operation, ...]] = (
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
    ("get", "/blueprints", "What can be run", {}, "", 200, "Blueprints"),
    ("get", "/blueprints/{name}", "One blueprint", {}, "", 200, "Blueprint"),
    ("get", "/tokens", "Your API tokens, without their secrets", {}, "", 200, "Tokens"),
    ("post", "/tokens", "A new API token; its secret is shown once", {}, "CreateToken", 201, "NewToken"),
    ("post", "/tokens/{id}/revoke", "Revoke a token, at once", {}, "Empty", 200, "Tokens"),
    ("get", "/health", "The state of every part", {}, "", 200, "Health"),
    ("get", "/version", "The version of the server", {}, "", 200, "Version"),
    ("get", "/log", "The head of the log", {}, "", 200, "Head"),
    *openapi_gate.OPERATIONS,
    *openapi_people.OPERATIONS,
    *openapi_policy.OPERATIONS,
    *openapi_freeze.OPERATIONS,
)

_ERRORS: Final = {
    "400": "the request cannot be read",
    "401": "no Bearer token, or one that is not valid",
    "403": "your role may not do this, or the answer lacks what its ceremony asks for",
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
        shown["requestBody"] = {"required": bool(REQUESTS[request]["required"]), "content": body}
    return shown


def _answer(text: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": ref(schema)}}}

"""Questions of the door itself: may this connection be made, may this model be called, and how did they end."""

from __future__ import annotations

from typing import Any

from litestar import Router, post

from app.domain.errors import InvalidInput, NotFound
from app.domain.reasons import Reason
from app.gateway.wire import Given, Http, count, json_body, run_of, text, while_connected
from app.services.asks import Answer
from app.services.modelcalls import ModelCall, ToolResult

_UNBOUND = 128_000
# An agent's runtime ends its run at a 403; what passes by itself is told as such, and asked again.
_STATUS = {Reason.LEDGER_UNAVAILABLE.value: 503, Reason.FROZEN.value: 529}
_USAGE = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _told(answer: Answer) -> dict[str, Any]:
    return {
        "verdict": "ALLOW" if answer.allowed else "DENY",
        "reason_code": answer.reason_code,
        "rule": answer.rule,
        "receipt_id": answer.receipt_id,
        "message": answer.message,
    }


@post("/egress", status_code=200)
async def egress(request: Http, services: Given) -> dict[str, Any]:
    """Whether a run may connect to a host and port."""
    run, body = run_of(request), await json_body(request)
    port = count(body, "port")
    if not 0 < port < 65_536:
        raise InvalidInput("port is between 1 and 65535")
    asked = services.egress.ask(
        run,
        text(body, "form", 16),
        text(body, "host", 253),
        port,
        text(body, "method", 16, ""),
        text(body, "path", 8192, ""),
    )
    found = await while_connected(request, asked)
    if found is None:
        return {"verdict": "DENY", "reason_code": Reason.EGRESS_DENIED.value, "message": "the caller has gone"}
    return {
        **_told(found.answer),
        "ticket": found.ticket,
        "flags": found.flags,
        "addresses": found.addresses,
        "dial_port": found.dial_port,
    }


@post("/egress/end", status_code=200)
async def egress_end(request: Http, services: Given) -> dict[str, Any]:
    """How a connection ended."""
    run, body = run_of(request), await json_body(request)
    try:
        await services.egress.end(
            run,
            text(body, "ticket", 64),
            status=text(body, "status", 16),
            ip=text(body, "ip", 64, ""),
            sent=count(body, "bytes_out", 0),
            received=count(body, "bytes_in", 0),
            error=text(body, "error", 1_000, ""),
        )
    except NotFound:
        return {}  # a refused connection has no dispatch to end
    return {}


@post("/model", status_code=200)
async def model(request: Http, services: Given) -> dict[str, Any]:
    """Whether a model call may be made; its worst case is reserved before the answer."""
    run, body = run_of(request), await json_body(request)
    call = ModelCall(
        run=run,
        provider=text(body, "provider", 32),
        path=text(body, "path", 1_000),
        model=text(body, "model", 200, ""),
        agent=text(body, "agent", 200, ""),
        max_tokens=_bound(body),
        body_bytes=count(body, "body_bytes"),
        body_sha256=text(body, "body_sha256", 64, ""),
        stream=body.get("stream") is True,
        tool_results=_results(body.get("tool_results")),
    )
    answer, ticket = await services.model_calls.begin(call)
    if answer.reason_code == Reason.UNGATED_EFFECT.value:
        await services.runs.cut(run, Reason.UNGATED_EFFECT, answer.message)
    return {**_told(answer), "status": _STATUS.get(answer.reason_code, 403), "ticket": ticket}


def _bound(body: dict[str, Any]) -> int:
    """The caller's own bound on the answer; where it set none, the most that a model writes."""
    return _UNBOUND if body.get("max_tokens") is None else count(body, "max_tokens")


def _results(value: Any) -> list[ToolResult]:
    if not isinstance(value, list) or len(value) > 100_000:
        raise InvalidInput("tool_results is a list")
    found = []
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not 0 < len(item["id"]) <= 200:
            raise InvalidInput("a tool result has an id")
        found.append(ToolResult(item["id"], item.get("is_error") is True))
    return found


@post("/model/end", status_code=200)
async def model_end(request: Http, services: Given) -> dict[str, Any]:
    """How a model call ended and what it used."""
    run, body = run_of(request), await json_body(request)
    status = text(body, "status", 16)
    read = body.get("usage")
    usage = None
    if isinstance(read, dict):
        usage = {name: read[name] for name in _USAGE if type(read.get(name)) is int}
    await services.model_calls.end(
        run,
        text(body, "ticket", 64),
        ok=status == "executed",
        cancelled=status == "cancelled",
        usage=usage,
        model=text(body, "model", 200, ""),
        error=str(body.get("error") or "")[:1_000],
        request_id=str(body.get("request_id") or "")[:200],
        summary={
            "http_status": count(body, "http_status", 0),
            "stop_reason": str(body.get("stop_reason") or "")[:100],
            "tool_uses": _uses(body.get("tool_uses")),
        },
    )
    return {}


def _uses(value: Any) -> list[dict[str, str]]:
    items = value if isinstance(value, list) else []
    return [
        {"id": str(item.get("id"))[:200], "name": str(item.get("name"))[:200]}
        for item in items[:1_000]
        if isinstance(item, dict)
    ]


@post("/attempt", status_code=200)
async def attempt(request: Http, services: Given) -> dict[str, Any]:
    """A run asked the door for what only people may use; recorded as the refusal that it was."""
    run, body = run_of(request), await json_body(request)
    method, target = text(body, "method", 16), text(body, "target", 300)
    return _told(await services.self_approvals.attempt(run, method, target))


routes = Router("/door", route_handlers=[egress, egress_end, model, model_end, attempt])

"""MCP servers of a run, reached only through here. A call of a tool is forwarded once, against a release that the gate
gave for exactly these arguments; everything that is not on the list of methods is refused. What comes back passes
`mcp_answers`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias

import httpx
from litestar import Response, Router, route
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from app.domain.canonical import strict_loads
from app.domain.errors import InvalidInput, RunEnded, TooLarge
from app.domain.ids import short_id
from app.domain.reasons import Reason
from app.domain.verdict import Grade
from app.gateway.mcp_answers import Asked, body_of, message_of, rpc_error, stream_of
from app.gateway.wire import MAX_BODY, Given, Http, run_of
from app.services.asks import Ask, Refusal
from app.services.services import Services

Client: TypeAlias = NamedDependency[httpx.AsyncClient]
_PASSED: Final = frozenset({"accept", "content-type", "last-event-id"})
_RETURNED: Final = frozenset({"mcp-session-id", "cache-control", "mcp-protocol-version"})
_WORDS: Final = 65_536  # bytes of an answer that is no message: an error page
_METHODS: Final = frozenset(
    {
        "initialize",
        "ping",
        "tools/list",
        "server/discover",
        "subscriptions/listen",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
    }
)


@route("/{server:str}", http_method=["GET", "POST", "DELETE"], status_code=200)
async def forward(
    request: Http, services: Given, server: FromPath[str], mcp_http: NamedDependency[httpx.AsyncClient]
) -> Any:
    """One exchange with an MCP server, streamed both ways."""
    run = run_of(request)
    blueprint = services.runs.blueprint_of(run)
    if blueprint is None:
        raise RunEnded("the run has ended")
    url = await services.providers.mcp_url(blueprint, server)
    body = await request.body()
    asked = Asked(run, server)
    if request.method == "POST":
        found = await _asked(services, request, run, server, body)
        if isinstance(found, Response):
            return found
        asked = found
    elif services.runs.is_frozen(run):
        return _frozen(None)
    headers = {k: v for k, v in request.headers.items() if k in _PASSED or k.startswith("mcp-")}
    outgoing = mcp_http.build_request(request.method, url, content=body, headers=headers)
    try:
        answer = await mcp_http.send(outgoing, stream=True)
    except httpx.HTTPError as error:
        return _error(asked.id, -32603, f"the MCP server {server} does not answer ({type(error).__name__})", "")
    return await _answered(services, asked, answer)


async def _answered(services: Services, asked: Asked, answer: httpx.Response) -> Response[Any] | Stream:
    """The server's answer as the agent may read it. Its type is said anew: a client must not read it otherwise."""
    kept = {k: v for k, v in answer.headers.items() if k in _RETURNED}
    media = answer.headers.get("content-type", "").lower()
    if "text/event-stream" in media:
        events = stream_of(services, asked, _bytes(answer))
        return Stream(events, status_code=answer.status_code, headers=kept | {"content-type": "text/event-stream"})
    try:
        data = await body_of(_bytes(answer))
    except TooLarge as error:
        return _error(asked.id, -32603, error.message, error.code)
    if "json" in media and data.strip():
        told = await message_of(services, asked, data)
        data, media = (told or "").encode("utf-8", "replace"), "application/json"
    else:
        data, media = data[:_WORDS], "text/plain; charset=utf-8"
    return Response(data, status_code=answer.status_code, headers=kept | {"content-type": media})


async def _bytes(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The upstream's bytes as they come; its breaking off is the end of them."""
    try:
        async for chunk in answer.aiter_bytes():
            yield chunk
    except httpx.HTTPError:
        return
    finally:
        await answer.aclose()


async def _asked(services: Services, request: Http, run: str, server: str, body: bytes) -> Asked | Response[Any]:
    """What a message asks, its release taken; or the error answer for one that may not pass."""
    message = strict_loads(body, max_bytes=MAX_BODY)
    if not isinstance(message, dict):
        raise InvalidInput("one JSON-RPC message at a time")
    method, id = message.get("method"), message.get("id")
    if method is None:
        return Asked(run, server)
    params = message.get("params")
    name = params.get("name") if isinstance(params, dict) else None
    if request.headers.get("mcp-method", method) != method or request.headers.get("mcp-name", name) != name:
        raise InvalidInput("the headers of the message name another method or tool than the message")
    if method == "tools/call":
        return await _tool_call(services, run, server, message)
    if services.runs.is_frozen(run):
        return _frozen(id)
    if method in _METHODS or (isinstance(method, str) and method.startswith("notifications/")):
        return Asked(run, server, method, id)
    return _error(id, -32601, "this method is not passed to MCP servers", "")


async def _tool_call(services: Services, run: str, server: str, message: dict[str, Any]) -> Asked | Response[Any]:
    params, id = message.get("params"), message.get("id")
    if not isinstance(params, dict) or not isinstance(params.get("name"), str) or id is None:
        return _error(id, -32602, "a tool call names its tool and has an id", Reason.SCHEMA_VIOLATION.value)
    tool, args = params["name"], params.get("arguments", {})
    refusal = await _refusal(services, run, server, tool, args)
    if refusal is None:
        call = await services.tool_calls.release(run, server, tool, args)
        if call is not None:
            return Asked(run, server, "tools/call", id, tool, call)
        refusal = Refusal(Reason.UNGATED_EFFECT, "the gate has released no such call, or it was used already")
    answer = await services.gate.perform(
        Ask(
            run=run,
            door="mcp",
            tool=f"mcp__{server}__{tool}"[:200],
            args=args,
            key=short_id("mcp", services.clock.entropy(10)),
            executor="gateway",
            grade=Grade.STRUCTURAL,
            refusal=refusal,
        )
    )
    return _error(id, -32001, answer.message, answer.reason_code, answer.receipt_id)


async def _refusal(services: Services, run: str, server: str, tool: str, args: Any) -> Refusal | None:
    """What the shelf says now: since the gate released the call, the tool may have become another one."""
    if services.tools.pin(server, tool) is None:
        return Refusal(Reason.DENY_TOOL_NOT_FOUND, "the server has listed no such tool", first=True)
    blueprint = services.runs.blueprint_of(run)
    checked = services.tools.check(blueprint.name if blueprint is not None else "", f"mcp__{server}__{tool}", args)
    return Refusal(checked.reason, checked.message, first=True) if checked.reason is not None else None


def _frozen(id: Any) -> Response[Any]:
    return _error(id, -32001, Reason.FROZEN.meaning, Reason.FROZEN.value)


def _error(id: Any, code: int, words: str, reason: str, receipt: str = "") -> Response[Any]:
    return Response(rpc_error(id, code, words, reason, receipt), status_code=200)


routes = Router("/mcp", route_handlers=[forward])

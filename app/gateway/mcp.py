"""MCP servers of a run, reached only through here. A call of a tool is forwarded once, against a release that the gate
gave for exactly these arguments; everything that is not on the list of methods is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
from litestar import Response, Router, route
from litestar.response import Stream

from app.domain.canonical import strict_loads
from app.domain.errors import InvalidInput, RunEnded
from app.domain.ids import short_id
from app.domain.reasons import Reason
from app.domain.verdict import Grade
from app.gateway.wire import MAX_BODY, Http, run_of
from app.services.asks import Ask, Refusal
from app.services.services import Services

_PASSED: Final = frozenset({"accept", "content-type", "last-event-id"})
_RETURNED: Final = frozenset({"content-type", "mcp-session-id", "cache-control", "mcp-protocol-version"})
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
_LIMIT: Final = 16 * 1024 * 1024


@route("/{server:str}", http_method=["GET", "POST", "DELETE"], status_code=200)
async def forward(request: Http, services: Services, server: str, mcp_http: httpx.AsyncClient) -> Any:
    """One exchange with an MCP server, streamed both ways."""
    run = run_of(request)
    blueprint = services.runs.blueprint_of(run)
    if blueprint is None:
        raise RunEnded("the run has ended")
    url = await services.providers.mcp_url(blueprint, server)
    body = await request.body()
    if request.method == "POST":
        refusal = await _refused(services, run, server, body)
        if refusal is not None:
            return refusal
    headers = {k: v for k, v in request.headers.items() if k in _PASSED or k.startswith("mcp-")}
    outgoing = mcp_http.build_request(request.method, url, content=body, headers=headers)
    try:
        answer = await mcp_http.send(outgoing, stream=True)
    except httpx.HTTPError as error:
        return _error(None, -32603, f"the MCP server {server} does not answer ({type(error).__name__})", "")
    kept = {k: v for k, v in answer.headers.items() if k in _RETURNED}
    return Stream(_bytes(answer), status_code=answer.status_code, headers=kept, media_type=kept.get("content-type"))


async def _bytes(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The upstream's bytes as they come, at most 16 MiB of them."""
    seen = 0
    try:
        async for chunk in answer.aiter_bytes():
            seen += len(chunk)
            if seen > _LIMIT:
                return
            yield chunk
    except httpx.HTTPError:
        return
    finally:
        await answer.aclose()


async def _refused(services: Services, run: str, server: str, body: bytes) -> Response[Any] | None:
    """An error answer for a message that may not pass, else None (then its release is taken)."""
    message = strict_loads(body, max_bytes=MAX_BODY)
    if not isinstance(message, dict):
        raise InvalidInput("one JSON-RPC message at a time")
    method = message.get("method")
    if method == "tools/call":
        return await _tool_call(services, run, server, message)
    if method is None or method in _METHODS or (isinstance(method, str) and method.startswith("notifications/")):
        return None
    return _error(message.get("id"), -32601, "this method is not passed to MCP servers", "")


async def _tool_call(services: Services, run: str, server: str, message: dict[str, Any]) -> Response[Any] | None:
    params = message.get("params")
    if not isinstance(params, dict) or not isinstance(params.get("name"), str):
        return _error(message.get("id"), -32602, "a tool call names its tool", Reason.SCHEMA_VIOLATION.value)
    tool, args = params["name"], params.get("arguments", {})
    if await services.tool_calls.release(run, server, tool, args) is not None:
        return None
    answer = await services.gate.perform(
        Ask(
            run=run,
            door="mcp",
            tool=f"mcp__{server}__{tool}"[:200],
            args=args,
            key=short_id("mcp", services.clock.entropy(10)),
            executor="gateway",
            grade=Grade.STRUCTURAL,
            refusal=Refusal(Reason.UNGATED_EFFECT, "the gate has released no such call, or it was used already"),
        )
    )
    return _error(message.get("id"), -32001, answer.message, answer.reason_code, answer.receipt_id)


def _error(id: Any, code: int, words: str, reason: str, receipt: str = "") -> Response[Any]:
    error = {"code": code, "message": words, "data": {"reason_code": reason, "receipt_id": receipt}}
    return Response({"jsonrpc": "2.0", "id": id, "error": error}, status_code=200)


routes = Router("/mcp", route_handlers=[forward])

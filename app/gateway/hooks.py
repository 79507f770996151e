"""The gate as the agent's hooks see it. Both hooks of one call ask here and are one intent; an answer that is not an
explicit allow is a denial in the hook's own form."""

from __future__ import annotations

from typing import Any

from litestar import Router, post

from app.domain.errors import NotFound
from app.gateway.wire import Given, Http, json_body, run_of, while_connected
from app.services.asks import Answer

_EDITED = "A person changed the input of this call before it ran; what ran is the changed input, and not yours."


@post("/", status_code=200)
async def ask(request: Http, services: Given) -> dict[str, Any]:
    """The verdict on a PreToolUse hook; held until there is one."""
    run, hook = run_of(request), await json_body(request)
    answer = await while_connected(request, services.tool_calls.ask(run, hook))
    return _hook_answer(answer)


def _hook_answer(answer: Answer | None) -> dict[str, Any]:
    allowed = answer is not None and answer.allowed
    output: dict[str, Any] = {
        "hookEventName": "PreToolUse",
        "permissionDecision": "allow" if allowed else "deny",
        "permissionDecisionReason": _words(answer),
    }
    if answer is not None and allowed and answer.edited is not None:
        output["updatedInput"] = answer.edited
        output["additionalContext"] = f"{_EDITED} {answer.message}"
    return {"hookSpecificOutput": output}


def _words(answer: Answer | None) -> str:
    """What the agent reads: the code, the words, and what it can do about it."""
    if answer is None:
        return "LEDGER_UNAVAILABLE: no verdict was reached"
    if answer.allowed:
        return answer.message or "allowed"
    rule = f" (rule {answer.rule})" if answer.rule else ""
    return f"{answer.reason_code}{rule}: {answer.message}"


@post("/outcome", status_code=200)
async def outcome(request: Http, services: Given) -> dict[str, Any]:
    """Record what came of a released call; answered once it is durable."""
    run, hook = run_of(request), await json_body(request)
    try:
        await services.tool_calls.report(run, hook)
    except NotFound:
        return {}  # a denied call ended when it was denied
    return {}


routes = Router("/gate", route_handlers=[ask, outcome])

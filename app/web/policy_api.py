"""Policies for programs: the bundles in force, their rules and files, and what another text would have decided."""

from __future__ import annotations

from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response

from app.domain.backtest import Row
from app.domain.errors import BadPolicy
from app.domain.policy import Bundle, Rule
from app.web.api_requests import ROOT, Json, Unprocessable, body_of
from app.web.context import Req, web_of


class UnloadablePolicy(Unprocessable):
    """The text that was sent is no policy; the message names file, line and reason."""

    code = "BAD_POLICY"


@get(f"{ROOT}/policies")
async def list_policies(request: Req) -> Json:
    """The bundles in force."""
    return Response({"policies": [_bundle(bundle) for bundle in web_of(request).services.library.bundles()]})


@get(f"{ROOT}/policies/{{name:str}}")
async def show_policy(request: Req, name: FromPath[str]) -> Json:
    """One bundle, its rules in their order, and its own files as they lie there."""
    services = web_of(request).services
    bundle = services.library.bundle(name)
    shown = {
        **_bundle(bundle),
        "description": bundle.description,
        "blueprints": [plan.name for plan in services.library.blueprints() if plan.policy == name],
        "rules": [_rule(rule) for rule in bundle.rules],
        "files": await services.policies.files(name),
    }
    return Response(shown)


@post(f"{ROOT}/policies/{{name:str}}/backtest", status_code=200)
async def backtest_policy(request: Req, name: FromPath[str]) -> Json:
    """What a text would have said to the recorded calls. Nothing is saved."""
    services = web_of(request).services
    body = await body_of(request, "BacktestPolicy")
    services.library.bundle(name)
    files = {**await services.policies.files(name), **body.get("files", {})}
    try:
        found = await services.policies.history(name, files)
    except BadPolicy as error:
        raise UnloadablePolicy(error.message) from None
    return Response(
        {
            "looked_at": found.looked_at,
            "unknown": found.unknown,
            "more": found.more,
            "changed": [_row(row) for row in found.changed],
        }
    )


def _bundle(bundle: Bundle) -> dict[str, Any]:
    return {"name": bundle.name, "title": bundle.title, "digest": bundle.digest, "rules_count": len(bundle.rules)}


def _rule(rule: Rule) -> dict[str, Any]:
    terms = rule.terms
    return {
        "id": rule.id,
        "tools": [glob.text for glob in rule.tools],
        "when": rule.when.source.strip() if rule.when is not None else "",
        "verdict": rule.verdict.value,
        "reason_code": rule.reason.value if rule.reason is not None else "",
        "risk": rule.risk.value,
        "message": rule.message,
        "obligations": list(rule.obligations),
        "approval": {
            "timeout": terms.timeout_s,
            "quorum": terms.quorum,
            "delay": terms.delay_s,
            "proof": terms.proof,
            "roles": list(terms.roles),
            "not_requester": terms.not_requester,
        },
        "file": "/".join(rule.file.split("/")[-2:]),
        "line": rule.line,
    }


def _row(row: Row) -> dict[str, Any]:
    recorded, (was, was_rule), (now, now_rule) = row.recorded, row.old, row.new
    return {
        "seq": recorded.seq,
        "at": recorded.ts,
        "run": recorded.run,
        "tool": recorded.tool,
        "target": recorded.target,
        "was": was,
        "was_rule": was_rule,
        "now": now,
        "now_rule": now_rule,
    }


ROUTES: Final[tuple[Any, ...]] = (list_policies, show_policy, backtest_policy)

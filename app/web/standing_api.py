"""What outlives a run, for programs: grants, notices, pinned tools; and the proofs that are laid beside a run."""

from __future__ import annotations

from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response

from app.domain.errors import InvalidInput
from app.web.api_json import evidence_json, grant_json, notice_json, preview_json, tool_json
from app.web.api_requests import ROOT, Json, body_of, query_at, run_at
from app.web.context import Req, viewer_of, web_of


@get(f"{ROOT}/grants")
async def list_grants(request: Req) -> Json:
    """Grants, the newest first."""
    web = web_of(request)
    state = query_at(request, "/grants").get("state", "standing")
    if state not in ("standing", "all"):
        raise InvalidInput("state is standing or all")
    shown = [grant_json(grant, web.now()) for grant in web.services.grants.all()]
    return Response({"grants": [one for one in shown if state == "all" or one["state"] == "standing"]})


@post(f"{ROOT}/grants/{{grant:str}}/revoke", status_code=200)
async def revoke_grant(request: Req, grant: FromPath[str]) -> Json:
    """Revoke a grant."""
    web, viewer = web_of(request), viewer_of(request)
    body = await body_of(request, "RevokeGrant")
    found = await web.services.grants.revoke(grant, by=viewer.account, reason=body.get("reason", ""))
    return Response(grant_json(found, web.now()))


@post(f"{ROOT}/grants/preview", status_code=200)
async def preview_grant(request: Req) -> Json:
    """How much of the log a pattern would have covered."""
    body = await body_of(request, "PreviewGrant")
    preview = await web_of(request).services.grants.preview(body["tool"], body["pattern"], run=body.get("run", ""))
    return Response(preview_json(preview))


@post(f"{ROOT}/runs/{{run:str}}/evidence", status_code=201)
async def attach_evidence(request: Req, run: FromPath[str]) -> Json:
    """Lay a proof beside a run."""
    web, viewer = web_of(request), viewer_of(request)
    body = await body_of(request, "AttachEvidence")
    found = await run_at(request, run)
    proof = await web.services.evidence.attach(
        found.id,
        body["kind"],
        body["ref"],
        by=viewer.account,
        digest=body.get("digest", ""),
        text=body.get("text", ""),
    )
    return Response(evidence_json(proof))


@get(f"{ROOT}/notices")
async def list_notices(request: Req) -> Json:
    """What a person should look at."""
    return Response(_notices(request))


@post(f"{ROOT}/notices/{{notice:str}}/clear", status_code=200)
async def clear_notice(request: Req, notice: FromPath[str]) -> Json:
    """A notice has been looked at."""
    await body_of(request, "Empty")
    await web_of(request).services.notices.clear(notice, by=viewer_of(request).account)
    return Response(_notices(request))


def _notices(request: Req) -> dict[str, Any]:
    notices = web_of(request).services.ledger.standing.notices.values()
    return {"notices": [notice_json(notice) for notice in notices]}


@get(f"{ROOT}/tools")
async def list_tools(request: Req) -> Json:
    """Pinned tools."""
    return Response({"tools": [tool_json(pin) for pin in web_of(request).services.tools.pins()]})


@get(f"{ROOT}/tools/{{server:str}}/{{tool:str}}")
async def show_tool(request: Req, server: FromPath[str], tool: FromPath[str]) -> Json:
    """A tool and both of its documents."""
    tools = web_of(request).services.tools
    pin = tools.known(server, tool)
    before, after = await tools.diff(server, tool)
    hints = list(await tools.hints(server, tool))
    return Response({**tool_json(pin), "before": before, "after": after, "hints": hints})


@post(f"{ROOT}/tools/{{server:str}}/{{tool:str}}/accept", status_code=200)
async def accept_tool(request: Req, server: FromPath[str], tool: FromPath[str]) -> Json:
    """Pin what the tool says now."""
    body, by = await body_of(request, "DecideTool"), viewer_of(request).account
    pin = await web_of(request).services.tools.accept(server, tool, by=by, digest=body.get("digest", ""))
    return Response(tool_json(pin))


@post(f"{ROOT}/tools/{{server:str}}/{{tool:str}}/reject", status_code=200)
async def reject_tool(request: Req, server: FromPath[str], tool: FromPath[str]) -> Json:
    """Keep the tool out."""
    body, by = await body_of(request, "DecideTool"), viewer_of(request).account
    pin = await web_of(request).services.tools.reject(server, tool, by=by, digest=body.get("digest", ""))
    return Response(tool_json(pin))


ROUTES: Final[tuple[Any, ...]] = (
    *(list_grants, revoke_grant, preview_grant, attach_evidence),
    *(list_notices, clear_notice, list_tools, show_tool, accept_tool, reject_tool),
)

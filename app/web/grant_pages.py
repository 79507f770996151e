"""Grants: what stands allowed beyond one call, and taking it back."""

from litestar import get, post
from litestar.params import FromPath

from app.domain.standing import Grant
from app.web.action_rows import at
from app.web.context import Html, Req, Web, viewer_of, web_of
from app.web.run_views import name_of
from app.web.shell import html, shell_of
from app.web.views_rules import GrantRow, GrantsPage


@get("/grants")
async def grants_page(request: Req) -> Html:
    """Those in force, then those that ended."""
    return await _page(request)


@post("/grants/{grant:str}/revoke", status_code=200)
async def grant_revoke(request: Req, grant: FromPath[str]) -> Html:
    """Take one back: no call after this passes by it."""
    await web_of(request).services.grants.revoke(grant, by=viewer_of(request).account)
    return await _page(request)


async def _page(request: Req) -> Html:
    web = web_of(request)
    shell = await shell_of(request)
    rows = [await _row(web, grant) for grant in web.services.grants.all()]
    active = tuple(row for row in rows if not row.ended)
    return html(request, GrantsPage(shell, active, tuple(row for row in rows if row.ended)))


async def _row(web: Web, grant: Grant) -> GrantRow:
    run = await web.services.ledger.read.run(grant.run)
    narrow = grant.scope == "run"
    return GrantRow(
        id=grant.id,
        tool=grant.tool,
        rule=grant.rule,
        where=(name_of(run) if run is not None else grant.run) if narrow else f"every run of {grant.blueprint}",
        run_id=grant.run if narrow else "",
        pattern=grant.pattern,
        used=grant.used,
        uses=grant.uses,
        by=grant.by,
        given_ms=at(grant.given_ts),
        expires_ms=at(grant.expires),
        ended=_ended(grant, web.now(), run is not None and not run.live and narrow),
    )


def _ended(grant: Grant, now_ms: int, over: bool) -> str:
    if grant.revoked_by:
        return f"revoked by {grant.revoked_by}"
    if not grant.left:
        return "used up"
    if at(grant.expires) <= now_ms:
        return "expired"
    return "its run is over" if over else ""

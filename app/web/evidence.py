"""Evidence: the head of the log, and the button that checks all of it again."""

from litestar import get, post

from app.domain.errors import Conflict, NotFound
from app.web.action_rows import at
from app.web.context import Html, Req, web_of
from app.web.shell import html, redirect, shell_of
from app.web.views_plain import Check, EvidencePage


@get("/evidence")
async def evidence_page(request: Req) -> Html:
    """The head of the log and its last check."""
    web = web_of(request)
    read = web.services.ledger.read
    shell = await shell_of(request)
    newest = await read.event(shell.head)
    check = request.app.state.get("check")
    page = EvidencePage(
        shell=shell,
        receipts=web.services.ledger.head + 1,
        head_seq=shell.head,
        head_hash=newest.id if newest is not None else "",
        head_ms=at(newest.ts) if newest is not None else None,
        key_id=web.settings.key_id,
        log_id=web.services.ledger.log,
        path=web.settings.log_path,
        check=check if isinstance(check, Check) else None,
    )
    return html(request, page)


@post("/evidence/verify", status_code=200)
async def evidence_verify(request: Req) -> Html:
    """Check every line of the log again. One check at a time: it reads everything."""
    web, state = web_of(request), request.app.state
    if web.settings.check_log is None:
        raise NotFound("this server cannot check its log by itself; use helm verify-log")
    if state.get("checking"):
        raise Conflict("the log is being checked already; look again in a moment")
    state["checking"] = True
    try:
        state["check"] = await web.settings.check_log()
    finally:
        state["checking"] = False
    return redirect("/evidence")

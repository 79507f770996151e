"""The inbox: what waits for a person, and the one place where it is answered."""

from dataclasses import replace
from typing import Literal

from litestar import get, post
from litestar.params import FromPath

from app.domain.errors import AlreadyAnswered, Conflict, InvalidInput
from app.domain.run import Action
from app.services.replies import Reply
from app.web.cards import action_of, card_of, items_of
from app.web.context import Html, Req, answerer_of, form_of, is_fragment, viewer_of, web_of
from app.web.guide import guide_of
from app.web.run_views import foot_card, item_key
from app.web.shell import fragment, html, redirect, shell_of
from app.web.views import InboxPage


@get("/")
async def home(request: Req) -> Html:
    """Inbox is home."""
    return redirect("/inbox")


@get("/inbox")
async def inbox_page(request: Req) -> Html:
    """The list, with its first item open at a desk."""
    return await _page(request, "")


@get("/inbox/{key:str}")
async def inbox_item(request: Req, key: FromPath[str]) -> Html:
    """The list with one item open; an answered one shows what became of it."""
    return await _page(request, key)


async def _page(request: Req, key: str) -> Html:
    web, viewer = web_of(request), viewer_of(request)
    shell = await shell_of(request)
    actions, items = await items_of(web)
    chosen = await action_of(web, key) if key else (actions[0] if actions else None)
    counts = await web.services.ledger.read.counts()
    page = InboxPage(
        shell=replace(shell, inbox_count=len(items)),
        items=tuple(items),
        card=await card_of(web, chosen, viewer.account, actions, key or item_key(chosen))
        if chosen is not None
        else None,
        opened=bool(key),
        running=counts.get("live", 0),
        guide=() if counts.get("all") else guide_of(web),
    )
    return html(request, page)


@post("/inbox/{key:str}/answer", status_code=200)
async def inbox_answer(request: Req, key: FromPath[str]) -> Html:
    """Allow once or deny. Somebody else's earlier answer is 409, a question that nobody needs any more is 410."""
    web, viewer = web_of(request), viewer_of(request)
    fields = await form_of(request)
    answer = fields.get("answer", "")
    action = await action_of(web, key)
    if answer == "dismiss" and key == action.id and action.status == "unknown":
        return await _seen(request, action)
    if not action.approval or answer not in ("allow", "deny"):
        raise InvalidInput("this can be answered with allow or deny")
    status = 200
    try:
        word: Literal["allow", "deny"] = "allow" if answer == "allow" else "deny"
        action = await web.services.approvals.resolve(
            action.approval, Reply(word, fields.get("reason", "")), who=answerer_of(request), source=viewer.source
        )
    except AlreadyAnswered:
        action = await action_of(web, key)
        status = 410 if action.answer in ("expired", "withdrawn") else 409
        if not is_fragment(request):
            raise
    if not is_fragment(request):
        return redirect(f"/inbox/{key}")
    return await _fate(request, action.approval, status)


async def _seen(request: Req, action: Action) -> Html:
    """An outcome that nobody knows has been looked at: it leaves the inbox, and stays in the log."""
    web, viewer = web_of(request), viewer_of(request)
    await web.people.mark_seen(action.id, viewer.person)
    web.hub.pages.forget_inbox()
    if not is_fragment(request):
        return redirect("/inbox")
    actions, _ = await items_of(web)
    card = await card_of(web, action, viewer.account, actions, action.id)
    return fragment(web.faces.card_foot(card, web.now()))


async def _fate(request: Req, approval: str, status: int) -> Html:
    web, viewer = web_of(request), viewer_of(request)
    action = await web.services.ledger.read.action(approval=approval)
    run = await web.services.ledger.read.run(action.run) if action is not None else None
    if action is None or run is None:
        raise Conflict("the item has moved on; load the page again")
    actions, _ = await items_of(web)
    following = next((item_key(other) for other in actions if other.approval != approval), "")
    return fragment(web.faces.card_foot(foot_card(action, run, viewer.account, following), web.now()), status)

"""The inbox: what waits for a person, and the one place where it is answered."""

from dataclasses import replace

import orjson
from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response

from app.domain.errors import AlreadyAnswered, HelmError, InputChanged, InvalidInput, NotFound
from app.domain.run import Action
from app.web.answers import ANSWERS, Fields, preview_for, refused_foot, reply_of
from app.web.cards import action_of, card_of, foot_of, items_of, place_of
from app.web.context import Html, Req, answerer_of, form_of, is_fragment, viewer_of, web_of
from app.web.guide import guide_of
from app.web.notices import answer_notice, notice_card, notice_items, notice_of
from app.web.rows import AnswerState
from app.web.run_views import item_key
from app.web.shell import fragment, html, redirect, shell_of
from app.web.views import Answer, Card, InboxPage
from app.web.views_gate import PatternCount


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
    web = web_of(request)
    shell = await shell_of(request)
    actions, items = await items_of(web)
    noticed = notice_items(web)
    keys = [*(item_key(action) for action in actions), *(item.key for item in noticed)]
    chosen = key or next(iter(keys), "")
    counts = await web.services.ledger.read.counts()
    page = InboxPage(
        shell=replace(shell, inbox_count=len(keys)),
        items=(*items, *noticed),
        card=await _card(request, chosen, keys) if chosen else None,
        opened=bool(key),
        running=counts.get("live", 0),
        guide=() if counts.get("all") else guide_of(web),
    )
    return html(request, page)


async def _card(request: Req, key: str, keys: list[str]) -> Card:
    web, who = web_of(request), answerer_of(request)
    notice = notice_of(web, key)
    if notice is not None:
        return await notice_card(web, notice, who, place_of(keys, key))
    try:
        return await card_of(web, await action_of(web, key), who, keys, key)
    except NotFound:
        moved = web.hub.pages.moved.get(key)
        if moved is None:
            raise
        return await card_of(web, await action_of(web, moved), who, keys, moved)


@get("/inbox/{key:str}/foot")
async def inbox_foot(request: Req, key: FromPath[str]) -> Html:
    """The buttons again, as they are for this person now."""
    web = web_of(request)
    if notice_of(web, key) is not None:
        return Response("", status_code=204, media_type="text/plain")
    return await _foot(request, await action_of(web, key))


@post("/inbox/{key:str}/answer", status_code=200)
async def inbox_answer(request: Req, key: FromPath[str]) -> Html:
    """Answer. Somebody else's earlier answer is 409, a question that nobody needs any more is 410; what is refused
    comes back as the card's foot, with everything that was typed."""
    web, viewer = web_of(request), viewer_of(request)
    fields = await form_of(request)
    answer = fields.get("answer", "")
    notice = notice_of(web, key)
    if notice is not None:
        card = await answer_notice(web, notice, answer, answerer_of(request), fields.get("shown", ""))
        return fragment(web.faces.card_foot(card, web.now())) if is_fragment(request) else redirect("/inbox")
    action = await action_of(web, key)
    if answer == "dismiss" and key == action.id and action.status == "unknown":
        return await _seen(request, action)
    if not action.approval or answer not in ANSWERS:
        raise InvalidInput("this cannot be answered so")
    try:
        reply = await reply_of(web, action, fields)
        action = await web.services.approvals.resolve(
            action.approval, reply, who=answerer_of(request), source=viewer.source
        )
    except AlreadyAnswered:
        if not is_fragment(request):
            raise
        action = await action_of(web, key)
        return await _foot(request, action, 410 if action.answer in ("expired", "withdrawn") else 409)
    except HelmError as error:
        if isinstance(error, InputChanged):
            web.hub.pages.move(action.approval, error.approval)
        if not is_fragment(request):
            raise
        return await _refused(request, action, fields, error)
    return await _foot(request, action) if is_fragment(request) else redirect(f"/inbox/{key}")


async def _refused(request: Req, action: Action, fields: Fields, error: HelmError) -> Html:
    web = web_of(request)
    card = await refused_foot(web, action, answerer_of(request), fields, error)
    return fragment(web.faces.card_foot(card, web.now()), error.status)


async def _seen(request: Req, action: Action) -> Html:
    """An outcome that nobody knows has been looked at: it leaves the inbox, and stays in the log."""
    web, viewer = web_of(request), viewer_of(request)
    await web.people.mark_seen(action.id, viewer.person)
    web.hub.pages.forget_inbox()
    if not is_fragment(request):
        return redirect("/inbox")
    card = await card_of(web, action, answerer_of(request), await _keys(request), action.id)
    return fragment(web.faces.card_foot(card, web.now()))


async def _keys(request: Req) -> list[str]:
    web = web_of(request)
    actions, _ = await items_of(web)
    return [*(item_key(action) for action in actions), *(item.key for item in notice_items(web))]


async def _foot(request: Req, action: Action, status: int = 200) -> Html:
    web = web_of(request)
    following = next((key for key in await _keys(request) if key not in (action.approval, action.id)), "")
    card = await foot_of(web, action, answerer_of(request), following)
    return fragment(web.faces.card_foot(card, web.now()), status)


@post("/inbox/{key:str}/edit", status_code=200)
async def inbox_edit(request: Req, key: FromPath[str]) -> Html:
    """The call as it is typed so far, beside the one that was asked for. Changes nothing."""
    web = web_of(request)
    preview = await preview_for(web, await action_of(web, key), await form_of(request))
    return fragment(web.faces.edit_preview(preview, web.now()))


@post("/inbox/{key:str}/pattern", status_code=200)
async def inbox_pattern(request: Req, key: FromPath[str]) -> Html:
    """How many past calls the pattern that is typed would have matched. Changes nothing."""
    web = web_of(request)
    action, fields = await action_of(web, key), await form_of(request)
    pattern = fields.get("pattern", "").replace("\r\n", "\n").strip()
    try:
        found = await web.services.grants.preview(
            action.tool, pattern, run=action.run if fields.get("scope") == "run" else ""
        )
        count = PatternCount(found.matched, found.looked_at, found.examples)
    except InvalidInput as error:
        count = PatternCount(error=error.message[:1].upper() + error.message[1:])
    return fragment(web.faces.pattern_count(count, web.now()))


@post("/inbox/{key:str}/statement", status_code=200)
async def inbox_statement(request: Req, key: FromPath[str]) -> Response[dict[str, str]]:
    """The text that this person signs to give an answer, and the time that it names."""
    web = web_of(request)
    action = await action_of(web, key)
    reply = await reply_of(web, action, await form_of(request))
    statement = await web.services.approvals.statement(action.approval, reply, who=answerer_of(request))
    return Response({"statement": statement.decode("utf-8"), "at": str(orjson.loads(statement)["at"])})


@post("/inbox/{key:str}/again", status_code=200)
async def inbox_again(request: Req, key: FromPath[str]) -> Html:
    """Tell the agent that somebody is here now, and that it may make the call again."""
    web = web_of(request)
    action = await action_of(web, key)
    await web.services.approvals.ask_again(action.approval, who=answerer_of(request))
    if not is_fragment(request):
        return redirect(f"/inbox/{key}")
    card = await foot_of(web, action, answerer_of(request))
    asked = Answer(AnswerState.DELIVERED, "asked", answerer_of(request).account)
    return fragment(web.faces.card_foot(replace(card, answer=asked, available=()), web.now()))

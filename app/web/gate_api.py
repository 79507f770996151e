"""The inbox for programs: what waits, one answer to it (or one to many, which can be taken back), and asking again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response

from app.domain.content import Proof
from app.domain.errors import InvalidInput
from app.domain.run import Action
from app.services.replies import NO_PROOF, GrantTerms, Reply
from app.web.api_json import bulk_json, item_json, notice_json, statement_json, steering_json
from app.web.api_requests import ROOT, Json, body_of
from app.web.cards import action_of, items_of
from app.web.context import Req, answerer_of, viewer_of, web_of


@get(f"{ROOT}/inbox")
async def list_inbox(request: Req) -> Json:
    """What waits for a person, and what they should look at."""
    web, who = web_of(request), answerer_of(request)
    actions, items = await items_of(web)
    shown = [
        item_json(action, item.run_name, await web.services.approvals.offer(action, who))
        for action, item in zip(actions, items, strict=True)
    ]
    notices = web.services.ledger.standing.notices.values()
    return Response({"items": shown, "notices": [notice_json(notice) for notice in notices]})


@get(f"{ROOT}/inbox/{{key:str}}")
async def show_item(request: Req, key: FromPath[str]) -> Json:
    """One item."""
    return Response(await _item(request, key))


@post(f"{ROOT}/inbox/{{key:str}}/answer", status_code=200)
async def answer_item(request: Req, key: FromPath[str]) -> Json:
    """Allow or deny."""
    web, viewer = web_of(request), viewer_of(request)
    body = await body_of(request, "AnswerItem")
    action = await action_of(web, key)
    if body["answer"] == "dismiss":
        return await _dismiss(request, action, key)
    done = await web.services.approvals.resolve(
        _approval(action, key), reply_of(body), who=answerer_of(request), source=viewer.source
    )
    return Response(await _item(request, done.id))


async def _dismiss(request: Req, action: Action, key: str) -> Json:
    web, viewer = web_of(request), viewer_of(request)
    if action.status != "unknown" or key != action.id:
        raise InvalidInput("only an outcome that nobody knows can be dismissed")
    await web.people.mark_seen(action.id, viewer.person)
    web.hub.pages.forget_inbox()
    return Response(await _item(request, action.id))


@post(f"{ROOT}/inbox/{{key:str}}/statement", status_code=200)
async def state_answer(request: Req, key: FromPath[str]) -> Json:
    """The bytes that an answer signs."""
    web = web_of(request)
    body = await body_of(request, "StateAnswer")
    action = await action_of(web, key)
    statement = await web.services.approvals.statement(_approval(action, key), reply_of(body), who=answerer_of(request))
    return Response(statement_json(statement))


@post(f"{ROOT}/inbox/{{key:str}}/again", status_code=202)
async def ask_again(request: Req, key: FromPath[str]) -> Json:
    """Ask the agent to make the call again."""
    web = web_of(request)
    await body_of(request, "Empty")
    action = await action_of(web, key)
    message = await web.services.approvals.ask_again(_approval(action, key), who=answerer_of(request))
    return Response(steering_json(message))


@post(f"{ROOT}/inbox/bulk", status_code=202)
async def answer_bulk(request: Req) -> Json:
    """Answer several alike, each once; applied later."""
    web, viewer = web_of(request), viewer_of(request)
    body = await body_of(request, "BulkAnswer")
    bulk = web.services.bulk.hold(
        body["ids"], body["answer"], who=answerer_of(request), reason=body.get("reason", ""), source=viewer.source
    )
    return Response(bulk_json(bulk))


@get(f"{ROOT}/inbox/bulk/{{bulk:str}}")
async def show_bulk(request: Req, bulk: FromPath[str]) -> Json:
    """What became of a bulk answer."""
    return Response(bulk_json(web_of(request).services.bulk.get(bulk)))


@post(f"{ROOT}/inbox/bulk/{{bulk:str}}/undo", status_code=200)
async def undo_bulk(request: Req, bulk: FromPath[str]) -> Json:
    """Take a bulk answer back."""
    await body_of(request, "Empty")
    return Response(bulk_json(web_of(request).services.bulk.undo(bulk, who=answerer_of(request))))


def reply_of(body: Mapping[str, Any]) -> Reply:
    """A person's answer as they sent it; what it may hold was checked against its schema."""
    grant, proof = body.get("grant"), body.get("proof")
    return Reply(
        answer=body["answer"],
        reason=body.get("reason", ""),
        edited=body.get("edited"),
        grant=GrantTerms(**grant) if grant is not None else None,
        proof=Proof(proof["type"], proof["data"]) if proof is not None else NO_PROOF,
        at=body.get("at", ""),
    )


def _approval(action: Action, key: str) -> str:
    """The question that a key means: the very one that was shown, never one that took its place."""
    if not action.approval:
        raise InvalidInput("this item has no question to answer")
    return action.approval if key == action.id else key


async def _item(request: Req, key: str) -> dict[str, Any]:
    web = web_of(request)
    action = await action_of(web, key)
    run = await web.services.runs.get(action.run)
    intent = await web.services.ledger.read.event(action.intent)
    offer = await web.services.approvals.offer(action, answerer_of(request))
    return {
        **item_json(action, run.title, offer),
        "input": intent.text("args") if intent is not None else "",
        "edited_input": await _edited(request, action),
    }


async def _edited(request: Req, action: Action) -> str:
    """The arguments that were allowed in place of those that were asked for."""
    if not action.edited:
        return ""
    decision = await web_of(request).services.ledger.read.event(action.decision_id)
    return decision.text("edited") if decision is not None else ""


ROUTES: Final[tuple[Any, ...]] = (
    *(list_inbox, show_item, answer_item, state_answer, ask_again),
    *(answer_bulk, show_bulk, undo_bulk),
)

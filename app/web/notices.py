"""What a person should look at that is no question of a call, as items of the inbox: an agent that reached for its own
approval, a tool that says something else than before, an edit of the policies that does not load."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

from app.domain.approval import Answerer
from app.domain.errors import InvalidInput
from app.domain.standing import Notice
from app.web.action_rows import at
from app.web.cards import Place
from app.web.context import Web
from app.web.edits import near_changes
from app.web.payloads import diff_lines
from app.web.rows import AnswerState
from app.web.run_views import money_of, name_of
from app.web.views import Answer, Card, Fact, InboxItem, ItemKind, Money
from app.web.views_gate import Drift

GROUP: Final = "Needs a look"
_GLYPH: Final = {"self_approval": "agent", "tool_drift": "branch", "policy": "shield"}
_COST: Final = {
    "self_approval": "refused, and kept",
    "tool_drift": "not called until you decide",
    "policy": "the rules before it are in force",
}
_MAY: Final = frozenset({"owner", "approver"})


def key_of(notice: Notice) -> str:
    """The key of a notice in addresses; its id may hold what a path cannot."""
    return "ntc-" + hashlib.sha256(notice.id.encode("utf-8", "replace")).hexdigest()[:20]


def notice_of(web: Web, key: str) -> Notice | None:
    """The notice behind a key, while it is not cleared."""
    if not key.startswith("ntc-"):
        return None
    return next((one for one in web.services.ledger.standing.notices.values() if key_of(one) == key), None)


def notice_items(web: Web) -> list[InboxItem]:
    """The notices as lines of the inbox, the newest first."""
    notices = sorted(web.services.ledger.standing.notices.values(), key=lambda notice: -notice.seq)
    return [
        InboxItem(
            key_of(notice),
            ItemKind.ATTENTION,
            notice.title,
            notice.text,
            "",
            _COST[notice.kind],
            GROUP,
            at(notice.ts),
            glyph=_GLYPH[notice.kind],
        )
        for notice in notices
    ]


async def notice_card(web: Web, notice: Notice, who: Answerer, place: Place) -> Card:
    """A notice, with what can be done about it."""
    run = await web.services.ledger.read.run(notice.run) if notice.run and not notice.run.startswith("_") else None
    card = Card(
        key=key_of(notice),
        kind=ItemKind.ATTENTION,
        title=notice.title,
        run_id=run.id if run is not None else "",
        run_name=name_of(run) if run is not None else "This installation",
        agent="",
        blueprint=run.blueprint if run is not None else "",
        seq=notice.seq if run is not None else 0,
        position=place.position,
        total=place.total,
        since_ms=at(notice.ts),
        money=money_of(run) if run is not None else Money(0),
        why=notice.text,
        facts=(Fact("In the log", f"#{notice.seq}"),),
        available=_choices(notice, who),
        previous_key=place.previous,
        next_key=place.next,
        glyph=_GLYPH[notice.kind],
    )
    return await _with_drift(web, notice, card) if notice.kind == "tool_drift" else card


def _choices(notice: Notice, who: Answerer) -> tuple[str, ...]:
    if who.role not in _MAY:
        return ()
    return ("accept", "reject") if notice.kind == "tool_drift" else ("dismiss",)


async def _with_drift(web: Web, notice: Notice, card: Card) -> Card:
    server, _, tool = notice.id.removeprefix("tool:").partition("/")
    before, after = await web.services.tools.diff(server, tool)
    lines = diff_lines(before, after)
    near = near_changes(lines)
    pin, hints = web.services.tools.known(server, tool), await web.services.tools.hints(server, tool)
    return replace(card, drift=Drift(server, tool, near or tuple(lines), pin.drifted, hints))


async def answer_notice(web: Web, notice: Notice, answer: str, who: Answerer, shown: str = "") -> Card:
    """Clear a notice, or decide about the tool that it is about: `shown` names what it said when it was looked at.
    Raises InvalidInput, NotFound, Conflict."""
    if answer not in _choices(notice, who):
        raise InvalidInput("this cannot be answered so")
    card = await notice_card(web, notice, who, Place())
    server, _, tool = notice.id.removeprefix("tool:").partition("/")
    if answer == "accept":
        await web.services.tools.accept(server, tool, by=who.account, digest=shown)
    elif answer == "reject":
        await web.services.tools.reject(server, tool, by=who.account, digest=shown)
    else:
        await web.services.notices.clear(notice.id, by=who.account)
    return replace(card, available=(), answer=Answer(AnswerState.RECORDED, answer, who.account))

"""The inbox as people see it: the items in order, and the open card with everything that an answer needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from app.domain.approval import Answerer
from app.domain.canonical import Json, strict_loads
from app.domain.errors import HelmError, InvalidInput, NotFound
from app.domain.events import Event
from app.domain.payloads import ApprovalRequested, VerdictGiven
from app.domain.run import Action, Run
from app.services.tools import place_of as tool_place
from app.web.action_rows import at
from app.web.context import Web
from app.web.edits import asked_allowed, form_of_call
from app.web.patterns import pattern_for
from app.web.payloads import DiffLine, Payload, payload_of
from app.web.rows import AnswerState
from app.web.run_views import agent_path, agent_words, foot_card, item_of, offered, sorted_items, words_before
from app.web.text import short_hash
from app.web.views import Answer, Card, Fact, InboxItem, ItemKind, PastDecision, RuleText, Touch
from app.web.views_gate import FileNote, GrantForm

_LOOK_BACK: Final = 30
_PAST: Final = 6
_PAST_LOOK: Final = 300


async def items_of(web: Web) -> tuple[list[Action], list[InboxItem]]:
    """What waits, by the cost of waiting."""
    now = web.now()
    runs: dict[str, Run] = {}
    actions, items = [], []
    for action in sorted_items(await web.hub.pages.inbox(), now):
        run = runs.get(action.run) or await web.services.ledger.read.run(action.run)
        if run is None:
            continue
        runs[action.run] = run
        actions.append(action)
        items.append(item_of(action, run, now))
    return actions, items


async def action_of(web: Web, key: str) -> Action:
    """The action behind an inbox key (its approval, or its own id). Raises NotFound."""
    read = web.services.ledger.read
    action = await read.action(approval=key) or await read.action(id=key)
    if action is None or not (action.approval or action.status == "unknown"):
        raise NotFound("there is no such item in the inbox")
    return action


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item stands in the inbox: its number, how many there are, and its neighbours."""

    position: int = 0
    total: int = 1
    previous: str = ""
    next: str = ""


def place_of(keys: Sequence[str], key: str) -> Place:
    """The place of a key; one that is not among them has no number."""
    at_index = keys.index(key) if key in keys else -1
    after = keys[at_index + 1] if 0 <= at_index < len(keys) - 1 else ""
    return Place(at_index + 1, max(len(keys), 1), keys[at_index - 1] if at_index > 0 else "", after)


async def card_of(web: Web, action: Action, who: Answerer, keys: Sequence[str], key: str) -> Card:
    """The whole card of an item: of the question, or, under the action's own key, of its unknown outcome."""
    run = await web.services.runs.get(action.run)
    intent = await web.services.ledger.read.event(action.intent)
    unknown = action.status == "unknown" and key == action.id
    mine = action.id if unknown else action.approval or action.id
    place = place_of(keys, mine)
    agent, is_sub = agent_words(action)
    card = replace(
        await foot_of(web, action, who, place.next),
        key=mine,
        agent=agent or "lead agent",
        agents=agent_path(action) if is_sub else (),
        sub_agent=is_sub,
        position=place.position,
        total=place.total,
        previous_key=place.previous,
        why=await _why(web, action, intent, unknown),
        facts=await _facts(web, action),
        files=await _files(web, action),
        edit_lines=await _edited_lines(web, action, intent),
        parked=bool(run.parked),
        touches=_touches(action, intent),
        rule=_rule(web, run, action),
        past=await _past(web, action),
    )
    return await _as_unknown(web, action, card) if unknown else card


async def _as_unknown(web: Web, action: Action, card: Card) -> Card:
    answer = await _seen(web, action)
    return replace(
        card, kind=ItemKind.UNKNOWN, answer=answer, expires_ms=None, available=("dismiss",), blocked="", ceremony=None
    )


async def foot_of(web: Web, action: Action, who: Answerer, next_key: str = "") -> Card:
    """As much of a card as its foot draws for one person: buttons, forms, and what became of it."""
    ledger = web.services.ledger
    run = await web.services.runs.get(action.run)
    intent = await ledger.read.event(action.intent)
    card = offered(foot_card(action, run, who.account, next_key), action, run, ledger.standing, who, web.now())
    arguments = arguments_of(intent)
    return replace(
        card,
        payload=_payload(action, intent),
        edit=form_of_call(action.tool, arguments, await schema_of(web, action)) if "edit" in card.available else None,
        grant=grant_form(action, run, arguments) if {"allow_run", "allow_pattern"} & set(card.available) else None,
        moved_key=web.hub.pages.moved.get(card.key, ""),
    )


def grant_form(action: Action, run: Run, arguments: Mapping[str, Any]) -> GrantForm:
    """What a grant would be for; its pattern is one that this call matches."""
    return GrantForm(action.tool, action.rule, run.blueprint, pattern_for(arguments))


async def schema_of(web: Web, action: Action) -> Json:
    """The schema of the arguments: the blueprint's own, else what is pinned for the tool; None where there is none."""
    run = await web.services.runs.get(action.run)
    try:
        declared = dict(web.services.library.blueprint(run.blueprint).schemas).get(action.tool)
        if declared is not None:
            return declared
        return (await web.services.tools.document(*tool_place(action.tool))).input_schema
    except HelmError:
        return None


async def _files(web: Web, action: Action) -> tuple[FileNote, ...]:
    """The files that the call names, and what they were when an earlier question about it was asked."""
    read = web.services.ledger.read
    verdict = await read.event(action.verdict) if action.files and action.verdict else None
    before = await read.event(verdict.refs["request"]) if verdict is not None and "request" in verdict.refs else None
    asked = before.payload if before is not None and isinstance(before.payload, ApprovalRequested) else None
    # The verdict of an answer refers to the very question that it answers: nothing has changed there.
    old = {mark.path: mark for mark in asked.files or ()} if asked and asked.approval_id != action.approval else {}
    notes = []
    for mark in action.files:
        was = old.get(mark.path, mark)
        notes.append(
            FileNote(mark.path, mark.state, mark.digest or "", (was.digest or was.state) if was != mark else "")
        )
    return tuple(notes)


async def _edited_lines(web: Web, action: Action, intent: Event | None) -> tuple[DiffLine, ...]:
    if not action.edited or not action.decision_id:
        return ()
    decided = await web.services.ledger.read.event(action.decision_id)
    if decided is None or "edited" not in decided.contents:
        return ()
    try:
        edited = strict_loads(decided.content("edited"), max_bytes=2**21)
    except InvalidInput:
        return ()
    return asked_allowed(arguments_of(intent), edited) if isinstance(edited, dict) else ()


async def _seen(web: Web, action: Action) -> Answer:
    seen = action.id in await web.people.seen_items()
    return Answer(AnswerState.RECORDED, "dismiss") if seen else Answer()


async def _why(web: Web, action: Action, intent: Event | None, unknown: bool) -> str:
    if unknown:
        return "Helm released this, and the connection to it was lost before its result came back. Look at what it did."
    agent = intent.actor.id if intent is not None else ""
    before = await web.services.ledger.read.events(before=action.opened_seq, run=action.run, limit=_LOOK_BACK)
    return words_before(before, "" if agent == "lead" else agent)


def arguments_of(intent: Event | None) -> Mapping[str, Any]:
    """The arguments of an intent; what is no JSON object is shown under one key, whole."""
    if intent is None:
        return {}
    data = intent.content("args")
    try:
        value = strict_loads(data, max_bytes=2**21)
    except InvalidInput:
        return {"arguments": data.decode("utf-8", "replace")}
    return value if isinstance(value, dict) else {"arguments": value}


def _payload(action: Action, intent: Event | None) -> Payload:
    size = len(intent.content("args")) if intent is not None else 0
    return payload_of(action.tool, arguments_of(intent), action.args, size)


async def _facts(web: Web, action: Action) -> tuple[Fact, ...]:
    verdict = await web.services.ledger.read.event(action.verdict) if action.verdict else None
    digest = verdict.payload.policy_digest if verdict and isinstance(verdict.payload, VerdictGiven) else ""
    grade = "Helm owns the only path" if action.grade == "structural" else "a hook in the container asks first"
    policy = f"policy {short_hash(digest)}" if digest else ""
    return (
        Fact(
            "Caught by" if action.approval else "Released by",
            f"rule {action.rule}" if action.rule else action.reason_code,
            action.reason_code,
        ),
        Fact("Risk", action.risk, policy),
        Fact("Enforcement", action.grade, grade),
    )


def _touches(action: Action, intent: Event | None) -> tuple[Touch, ...]:
    arguments = arguments_of(intent)
    touches = []
    for name in ("to", "cc", "bcc"):
        value = arguments.get(name)
        for person in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            touches.append(Touch("you", str(person), name))
    path = arguments.get("file_path") or arguments.get("path")
    if isinstance(path, str):
        touches.append(Touch("file", path, action.effect_class))
    if isinstance(arguments.get("command"), str):
        touches.append(Touch("term", "a shell in the container", action.effect_class))
    if action.door == "egress" or isinstance(arguments.get("url"), str):
        touches.append(Touch("globe", action.target, "network"))
    return tuple(touches[:12])


def _rule(web: Web, run: Run, action: Action) -> RuleText | None:
    if not action.rule:
        return None
    try:
        file, lines = web.services.library.rule_text(run.policy, action.rule)
    except HelmError:
        return RuleText(action.rule)
    return RuleText(action.rule, "/".join(file.split("/")[-2:]), tuple(lines))


async def _past(web: Web, action: Action) -> tuple[PastDecision, ...]:
    """Earlier answers about the same tool, the newest first."""
    ended = await web.services.ledger.read.actions(state="ended", limit=_PAST_LOOK)
    same = [
        PastDecision(other.target, other.answer == "approve", at(other.answered_ts))
        for other in ended
        if other.tool == action.tool and other.answer in ("approve", "deny") and other.id != action.id
    ]
    return tuple(same[:_PAST])

"""One action as lines of a timeline: pure functions of the `Action` fold, the same for a page and the live socket."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from app.domain.errors import InvalidInput
from app.domain.events import Event
from app.domain.payloads import OutcomeRecorded
from app.domain.reasons import Reason
from app.domain.run import Action, Run
from app.domain.times import ms_of
from app.web.rows import (
    AnswerState,
    ApprovalRow,
    CallRow,
    CallState,
    EgressRow,
    ModelRow,
    NoticeRow,
    RunStatus,
    Tone,
)

LEAD: Final = ("", "lead")
_SAFE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ENDED: Final = {
    "executed": CallState.OK,
    "failed": CallState.FAILED,
    "timeout": CallState.FAILED,
    "cancelled": CallState.FAILED,
    "refused": CallState.DENIED,
    "unknown": CallState.UNKNOWN,
}
_FATE: Final = {
    "executed": AnswerState.EXECUTED,
    "unknown": AnswerState.UNKNOWN,
    "refused": AnswerState.NOT_DELIVERED,
}


def at(ts: str) -> int:
    """Milliseconds of a receipt's time; 0 where there is none."""
    try:
        return ms_of(ts) if ts else 0
    except InvalidInput:
        return 0


def slug(agent: str) -> str:
    """An agent's id as part of an HTML id; what an agent calls itself never gets in."""
    if _SAFE.fullmatch(agent):
        return agent
    return "a-" + hashlib.sha256(agent.encode("utf-8", "replace")).hexdigest()[:16]


def lane_of(agent: str) -> str:
    """The lane of an agent; "" is the lead's."""
    return "" if agent in LEAD else slug(agent)


def status_of(run: Run) -> RunStatus:
    """The status word of a run."""
    return RunStatus(run.status)


def call_state(action: Action) -> CallState:
    """Where a call stands, by the furthest fact of the log."""
    if action.state == "waiting":
        return CallState.WAITING
    if action.answer == "expired":
        return CallState.EXPIRED
    if action.decision == "DENY" and action.verdict:
        return CallState.DENIED
    if action.state == "ended":
        return _ENDED.get(action.status, CallState.UNKNOWN)
    return CallState.RUNNING if action.state == "dispatched" else CallState.ASKED


def answer_state(action: Action) -> AnswerState:
    """What became of a question."""
    if not action.answer:
        return AnswerState.OPEN if action.state == "waiting" else AnswerState.RECORDED
    if action.answer in ("expired", "withdrawn"):
        return AnswerState(action.answer)
    if action.answer == "deny":
        return AnswerState.DELIVERED if action.decision == "DENY" else AnswerState.RECORDED
    if action.state == "ended":
        return _FATE.get(action.status, AnswerState.FAILED)
    return AnswerState.DELIVERED if action.state == "dispatched" else AnswerState.RECORDED


def answer_word(action: Action) -> str:
    """The answer as faces call it."""
    return {"approve": "allow", "deny": "deny"}.get(action.answer, "")


def call_row(action: Action, lane: str) -> CallRow:
    """A tool call."""
    state = call_state(action)
    return CallRow(
        key=action.id,
        seq=action.opened_seq,
        at_ms=at(action.opened_ts),
        verb=verb_of(action.tool),
        target=action.target,
        state=state,
        duration_ms=_took(action),
        note=_note(action, state),
        rule=action.rule,
        reason_code=action.reason_code,
        detail_href=f"/runs/{action.run}/events/{action.opened_seq}",
        lane=lane,
    )


def verb_of(tool: str) -> str:
    """A tool's name as people say it: `mcp__mail__send` is mail.send."""
    return tool.removeprefix("mcp__").replace("__", ".") if tool.startswith("mcp__") else tool


def _took(action: Action) -> int | None:
    """From release to end: waiting for a person is not the call's time."""
    if not action.ended_ts or not action.dispatch:
        return None
    return max(0, at(action.ended_ts) - at(action.answered_ts or action.opened_ts))


def _note(action: Action, state: CallState) -> str:
    if state is CallState.DENIED:
        return action.reason_code
    return action.status if action.status in ("timeout", "cancelled") else ""


def approval_row(action: Action, lane: str) -> ApprovalRow:
    """The place where a question blocked the run."""
    return ApprovalRow(
        key=f"q-{action.approval}",
        seq=action.request_seq,
        at_ms=at(action.opened_ts),
        approval=action.approval,
        title=action.title or action.target,
        rule=action.rule,
        state=answer_state(action),
        answer=answer_word(action),
        by=action.answered_by,
        answered_ms=at(action.answered_ts) or None,
        reason=action.answer_reason,
        expires_ms=at(action.expires) or None,
        lane=lane,
    )


def egress_row(action: Action, event: Event, lane: str) -> EgressRow:
    """A host that the run reached for, once it was decided."""
    host, _, port = action.target.rpartition(":")
    return EgressRow(
        key=action.id,
        seq=event.seq,
        at_ms=at(event.ts),
        host=host or action.target,
        port=int(port) if port.isdecimal() and len(port) < 6 else 0,
        allowed=action.decision == "ALLOW",
        rule=action.rule,
        reason_code=action.reason_code,
        lane=lane,
    )


def model_row(action: Action, event: Event, payload: OutcomeRecorded, lane: str) -> ModelRow:
    """A model call that has ended, as it was metered."""
    usage = payload.usage
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens if usage else 0
    return ModelRow(
        key=action.id,
        seq=event.seq,
        at_ms=at(event.ts),
        model=action.target,
        tokens_in=read,
        tokens_out=usage.output_tokens if usage else 0,
        spent=usage.cost_micro if usage else 0,
        duration_ms=max(0, at(payload.ended) - at(payload.started)),
        note="" if payload.status == "executed" else payload.status,
        lane=lane,
    )


def refused_model(action: Action, event: Event, lane: str) -> NoticeRow:
    """A model call that was not let out: it explains why an agent stands still."""
    return NoticeRow(
        key=action.id,
        seq=event.seq,
        at_ms=at(event.ts),
        text=f"Model call refused ({action.reason_code}): {action.message}",
        tone=Tone.BAD,
        remedy=remedy_of(action.reason_code),
        lane=lane,
    )


def remedy_of(code: str) -> str:
    """What a person can do about a reason code; "" for one that is not registered."""
    try:
        return Reason(code).remedy
    except ValueError:
        return ""

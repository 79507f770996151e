"""What stands behind one line of a timeline, read on demand: arguments, verdict, result and their receipts."""

from __future__ import annotations

import json
from typing import Final

from app.domain.canonical import strict_loads
from app.domain.errors import InvalidInput
from app.domain.events import Event
from app.domain.payloads import IntentRecorded, OutcomeRecorded, VerdictGiven
from app.domain.run import Action
from app.domain.schema import encode
from app.ports import LogReader
from app.web.rows import CallDetail

MAX_SHOWN: Final = 131_072


async def detail_of(reader: LogReader, event: Event) -> CallDetail:
    """The detail of an event: of a call where it is one, otherwise the event's own body."""
    if not isinstance(event.payload, IntentRecorded):
        body = json.dumps(encode(event.payload), indent=2, ensure_ascii=False)
        return CallDetail(key=f"e{event.seq}", arguments=_cut(body)[0], receipts=(event.seq,))
    action = await reader.action(id=event.payload.action_id)
    arguments, _ = _cut(pretty(event.content("args")))
    if action is None:
        return CallDetail(key=event.payload.action_id, arguments=arguments, receipts=(event.seq,))
    return await _call(reader, event, action, arguments)


async def _call(reader: LogReader, event: Event, action: Action, arguments: str) -> CallDetail:
    outcome = await reader.event(action.outcome) if action.outcome else None
    verdict = await reader.event(action.verdict) if action.verdict else None
    result, size = "", 0
    if outcome is not None and isinstance(outcome.payload, OutcomeRecorded):
        data = outcome.content("result")
        size = len(data)
        result = pretty(data) or (outcome.payload.error_class or "")
    shown, cut = _cut(result)
    seqs = [event.seq, verdict.seq if verdict else 0, action.request_seq, action.dispatch_seq, action.outcome_seq]
    return CallDetail(
        key=action.id,
        arguments=arguments,
        result=shown,
        result_size=size,
        result_cut=cut,
        verdict="" if not action.verdict else "ESCALATE" if action.state == "waiting" else action.decision,
        rule=action.rule,
        reason_code=action.reason_code,
        grade=action.grade,
        policy_digest=verdict.payload.policy_digest if verdict and isinstance(verdict.payload, VerdictGiven) else "",
        receipts=tuple(sorted({seq for seq in seqs if seq})),
    )


def pretty(data: bytes) -> str:
    """JSON indented, text as it is."""
    text = data.decode("utf-8", "replace")
    if not text.startswith(("{", "[")):
        return text
    try:
        return json.dumps(strict_loads(data, max_bytes=2**21), indent=2, ensure_ascii=False)
    except InvalidInput:
        return text


def _cut(text: str) -> tuple[str, bool]:
    return (text[:MAX_SHOWN], True) if len(text) > MAX_SHOWN else (text, False)

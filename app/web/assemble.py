"""Events to lines of a timeline: for each kind of event, what it changes on a page. Pure; its state is a `Timeline`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeAlias

from app.domain.events import Event
from app.domain.payloads import (
    AgentEnded,
    AgentSpawned,
    ApiRetried,
    ApprovalDecided,
    ApprovalRequested,
    Controlled,
    Dispatched,
    IntentRecorded,
    ModelOutput,
    ModelThinking,
    OutcomeRecorded,
    RunClosed,
    RunCreated,
    RunInterrupted,
    RunnerConnected,
    RunNoted,
    RunParked,
    RunResulted,
    RunStarted,
    RunUnparked,
    SteeringDelivered,
    SteeringSeen,
    TurnEnded,
    TurnStarted,
    VerdictGiven,
)
from app.domain.run import Action
from app.web.action_rows import (
    approval_row,
    at,
    call_row,
    egress_row,
    model_row,
    refused_model,
    remedy_of,
    slug,
)
from app.web.rows import (
    EndedRow,
    NoticeRow,
    RunStatus,
    StartedRow,
    SteeringRow,
    SteerMode,
    SteerState,
    TextRow,
    Tone,
    TurnRow,
)
from app.web.timeline import Change, Timeline, lane_row

MAX_TEXT: Final = 60_000
_CLOSED: Final = {
    "complete": RunStatus.FINISHED,
    "failed": RunStatus.FAILED,
    "cancelled": RunStatus.STOPPED,
    "interrupted": RunStatus.INTERRUPTED,
}
_LEVELS: Final = {"info": Tone.QUIET, "warning": Tone.NEED, "error": Tone.BAD}


Draw: TypeAlias = Callable[[Timeline, Event, Any], list[Change]]


def apply(line: Timeline, event: Event) -> list[Change]:
    """What an event changes. Total: an unknown one changes nothing."""
    draw = _DRAW.get(type(event.payload))
    return draw(line, event, event.payload) if draw is not None else []


def steering_row(event: Event, payload: Controlled) -> SteeringRow:
    """A message as it was sent."""
    mode = payload.mode if payload.mode in SteerMode._value2member_map_ else "queue"
    return SteeringRow(
        key=payload.control_id,
        seq=event.seq,
        at_ms=at(event.ts),
        text=event.text("text"),
        mode=SteerMode(mode),
        state=SteerState.QUEUED,
        by=event.actor.id,
    )


def _notice(event: Event, text: str, tone: Tone = Tone.QUIET, remedy: str = "", lane: str = "") -> list[Change]:
    return [Change("append", NoticeRow(f"e{event.seq}", event.seq, at(event.ts), text, tone, remedy, lane))]


def _created(line: Timeline, event: Event, p: RunCreated) -> list[Change]:
    digest = p.policy_digest.removeprefix("sha256:")[:8]
    facts = (("model", p.model), ("policy", f"{p.policy} {digest}"))
    return [Change("append", StartedRow(f"e{event.seq}", event.seq, at(event.ts), p.blueprint, event.actor.id, facts))]


def _started(line: Timeline, event: Event, p: RunStarted) -> list[Change]:
    image = p.image.removeprefix("sha256:")
    name = image[:12] if image != p.image else image[:80]
    return _notice(event, f"Container {p.container[:12]} started from image {name}")


def _connected(line: Timeline, event: Event, p: RunnerConnected) -> list[Change]:
    again = "is back" if p.lease > 1 else "is ready"
    return _notice(event, f"The agent {again} (SDK {p.sdk}, CLI {p.cli})")


def _interrupted(line: Timeline, event: Event, p: RunInterrupted) -> list[Change]:
    return _notice(event, f"Interrupted: {p.message}", Tone.NEED, remedy_of(p.reason_code))


def _parked(line: Timeline, event: Event, p: RunParked) -> list[Change]:
    if p.reason == "slot":
        return _notice(event, "It can go on, and waits for a free slot", Tone.NEED)
    return _notice(event, "Parked: all of it waits for you; its slot is free for others", Tone.NEED)


def _unparked(line: Timeline, event: Event, p: RunUnparked) -> list[Change]:
    return _notice(event, "It goes on again, in a slot")


def _turn_started(line: Timeline, event: Event, p: TurnStarted) -> list[Change]:
    return line.turn_begins(TurnRow(f"e{event.seq}", p.turn, at(event.ts)))


def _turn_ended(line: Timeline, event: Event, p: TurnEnded) -> list[Change]:
    return line.turn_ends(p.turn, at(event.ts))


def _said(line: Timeline, event: Event, p: ModelOutput) -> list[Change]:
    lane = line.lane(p.agent, event)
    row = TextRow(
        key=f"e{event.seq}",
        seq=event.seq,
        at_ms=at(event.ts),
        text=_words(event),
        agent=p.agent or "lead",
        lane=lane,
        message=p.message_id,
        units=len(event.text("text").encode("utf-16-le", "surrogatepass")) // 2,
    )
    return [Change("append", row)]


def _thought(line: Timeline, event: Event, p: ModelThinking) -> list[Change]:
    text = _words(event)
    return _notice(event, f"Thinking: {text[:600]}{'…' if len(text) > 600 else ''}", lane=line.lane(p.agent, event))


def _words(event: Event) -> str:
    text = event.text("text")
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + f"… ({len(text):,} characters, the rest is in the log)"


def _spawned(line: Timeline, event: Event, p: AgentSpawned) -> list[Change]:
    row = lane_row(p.agent, p.agent_type, event.seq, at(event.ts))
    line.lanes[row.agent] = row
    return [Change("append", row)]


def _agent_ended(line: Timeline, event: Event, p: AgentEnded) -> list[Change]:
    row = line.lanes.get(slug(p.agent))
    if row is None:
        return []
    row = replace(row, ended=True, last_seq=event.seq, note=event.text("summary")[:120])
    line.lanes[row.agent] = row
    return [Change("replace", row)]


def _controlled(line: Timeline, event: Event, p: Controlled) -> list[Change]:
    if p.verb == "steer":
        row = steering_row(event, p)
        line.adopt_message(row)
        return [Change("append", row)]
    words = {"cancel": "asked to stop the run", "kill": "stopped the run", "pause": "paused the run"}
    return _notice(event, f"{event.actor.id} {words.get(p.verb, p.verb)}")


def _delivered(line: Timeline, event: Event, p: SteeringDelivered) -> list[Change]:
    return line.message(p.control_id, state=SteerState.DELIVERED)


def _seen(line: Timeline, event: Event, p: SteeringSeen) -> list[Change]:
    return line.message(p.control_id, state=SteerState.SEEN, seen_seq=event.seq)


def _retried(line: Timeline, event: Event, p: ApiRetried) -> list[Change]:
    return _notice(event, f"The model API failed ({p.error}); attempt {p.attempt} in {p.delay_ms / 1000:.1f} s")


def _noted(line: Timeline, event: Event, p: RunNoted) -> list[Change]:
    return _notice(event, _words(event), _LEVELS[p.level])


def _resulted(line: Timeline, event: Event, p: RunResulted) -> list[Change]:
    if p.status == "complete":
        return _notice(event, "The agent says that it is done", Tone.WELL)
    return _notice(event, f"The agent gave up: {p.reason or event.text('text')[:500]}", Tone.BAD)


def _intent(line: Timeline, event: Event, p: IntentRecorded) -> list[Change]:
    action = line.step(event, p.action_id)
    lane = line.began(event, p.action_id)
    if action is None or p.door not in ("tool", "mcp"):
        return []
    return [Change("append", call_row(action, lane)), *line.moved(lane, event, calls=1)]


def _verdict(line: Timeline, event: Event, p: VerdictGiven) -> list[Change]:
    action = line.step(event, p.action_id)
    if action is None:
        return []
    lane = line.lane_of(action)
    if action.door in ("tool", "mcp"):
        changes = [Change("replace", call_row(action, lane))]
    elif p.decision == "ESCALATE":
        changes = []
    elif action.door == "egress":
        changes = [Change("append", egress_row(action, event, lane))]
    else:
        changes = [Change("append", refused_model(action, event, lane))] if p.decision == "DENY" else []
    if action.approval:
        changes.append(Change("replace", approval_row(action, lane)))
    return changes


def _asked(line: Timeline, event: Event, p: ApprovalRequested) -> list[Change]:
    action = line.step(event, p.action_id)
    if action is None or not action.approval:
        return []
    return [Change("append", approval_row(action, line.lane_of(action)))]


def _decided(line: Timeline, event: Event, p: ApprovalDecided) -> list[Change]:
    action = line.step(event, "")
    found = action or line.adopted(p.approval_id)
    return [] if found is None else [Change("replace", approval_row(found, line.lane_of(found)))]


def _dispatched(line: Timeline, event: Event, p: Dispatched) -> list[Change]:
    action = line.step(event, p.action_id)
    return [] if action is None else _redrawn(line, action)


def _redrawn(line: Timeline, action: Action) -> list[Change]:
    lane = line.lane_of(action)
    changes = [Change("replace", call_row(action, lane))] if action.door in ("tool", "mcp") else []
    if action.approval:
        changes.append(Change("replace", approval_row(action, lane)))
    return changes


def _outcome(line: Timeline, event: Event, p: OutcomeRecorded) -> list[Change]:
    action = line.step(event, p.action_id)
    if action is None:
        return []
    lane = line.lane_of(action) or line.lane(event.actor.id if event.actor.type == "agent" else "", event)
    changes = _redrawn(line, action)
    if action.door == "model" and p.status != "refused":
        spent = p.usage.cost_micro if p.usage else 0
        line.spend(spent)
        changes += [Change("append", model_row(action, event, p, lane)), *line.moved(lane, event, spent=spent)]
    line.over(action)
    return changes


def _closed(line: Timeline, event: Event, p: RunClosed) -> list[Change]:
    row = EndedRow(
        key=f"e{event.seq}",
        seq=event.seq,
        at_ms=at(event.ts),
        status=_CLOSED[p.status],
        reason=p.message or p.reason_code,
        spent=p.spent_micro,
        receipts=p.count,
        duration_ms=max(0, at(event.ts) - at(line.run.opened_ts)),
    )
    return [*line.cancel_messages(), Change("append", row)]


_DRAW: Final[dict[type, Draw]] = {
    RunCreated: _created,
    RunStarted: _started,
    RunnerConnected: _connected,
    RunInterrupted: _interrupted,
    RunParked: _parked,
    RunUnparked: _unparked,
    TurnStarted: _turn_started,
    TurnEnded: _turn_ended,
    ModelOutput: _said,
    ModelThinking: _thought,
    AgentSpawned: _spawned,
    AgentEnded: _agent_ended,
    Controlled: _controlled,
    SteeringDelivered: _delivered,
    SteeringSeen: _seen,
    ApiRetried: _retried,
    RunNoted: _noted,
    RunResulted: _resulted,
    IntentRecorded: _intent,
    VerdictGiven: _verdict,
    ApprovalRequested: _asked,
    ApprovalDecided: _decided,
    Dispatched: _dispatched,
    OutcomeRecorded: _outcome,
    RunClosed: _closed,
}

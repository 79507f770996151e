"""`evolve` applies one event to a Run. It is total over every event of a run: an unknown one only moves the cursor,
and a crash at any point loses nothing that was recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from app.domain.events import Event
from app.domain.payloads import (
    AgentEnded,
    AgentSpawned,
    ApprovalDecided,
    ApprovalRequested,
    Controlled,
    Dispatched,
    EvidenceAttached,
    IntentRecorded,
    McpForwarded,
    ObligationMet,
    OutcomeRecorded,
    RunClosed,
    RunCreated,
    RunInterrupted,
    RunnerConnected,
    RunParked,
    RunResulted,
    RunStarted,
    RunUnparked,
    SteeringDelivered,
    SteeringSeen,
    TurnStarted,
    VerdictGiven,
)
from app.domain.run import Action, Evidence, Run, Steering


@dataclass(frozen=True, slots=True)
class Step:
    """What one event made of a run, and the one action that it changed (ended ones are in here for the last time)."""

    run: Run
    action: Action | None = None
    steering: Steering | None = None


Apply: TypeAlias = Callable[[Run, Event, Any], Step]


def evolve(run: Run | None, event: Event) -> Step:
    """Apply one event. Total over every event of a run: an unknown one only moves the cursor."""
    if isinstance(event.payload, RunCreated):
        return Step(_created(event, event.payload))
    if run is None:
        raise ValueError(f"#{event.seq} belongs to a run that was never created")
    source_seq = max(run.source_seq, getattr(event.payload, "source_seq", None) or 0)
    moved = replace(run, last_seq=event.seq, last_ts=event.ts, run_seq=event.run_seq, source_seq=source_seq)
    apply = _APPLY.get(type(event.payload))
    return apply(moved, event, event.payload) if apply is not None else Step(moved)


def _created(event: Event, p: RunCreated) -> Run:
    return Run(
        id=event.run,
        no=p.run_no,
        title=p.title,
        agent=p.agent,
        model=p.model,
        blueprint=p.blueprint,
        blueprint_digest=p.blueprint_digest,
        policy=p.policy,
        policy_digest=p.policy_digest,
        budget_micro=p.budget_micro,
        opened_seq=event.seq,
        opened_ts=event.ts,
        by=event.actor.id,
        last_seq=event.seq,
        last_ts=event.ts,
        run_seq=event.run_seq,
    )


def _started(run: Run, event: Event, p: RunStarted) -> Step:
    return Step(replace(run, container=p.container, lease=p.lease))


def _connected(run: Run, event: Event, p: RunnerConnected) -> Step:
    return Step(replace(run, connected=True, session=p.session, interrupted=""))


def _interrupted(run: Run, event: Event, p: RunInterrupted) -> Step:
    return Step(replace(run, interrupted=p.reason_code, message=p.message, connected=False, agents={}, parked=""))


def _turn(run: Run, event: Event, p: TurnStarted) -> Step:
    return Step(replace(run, turn=p.turn))


def _spawned(run: Run, event: Event, p: AgentSpawned) -> Step:
    agents, parents = {**run.agents, p.agent: p.agent_type}, {**run.parents, p.agent: p.parent}
    return Step(replace(run, agents=agents, parents=parents))


def _agent_ended(run: Run, event: Event, p: AgentEnded) -> Step:
    agents, parents = ({k: v for k, v in known.items() if k != p.agent} for known in (run.agents, run.parents))
    return Step(replace(run, agents=agents, parents=parents))


def _parked(run: Run, event: Event, p: RunParked) -> Step:
    return Step(replace(run, parked=p.reason or "waiting", parked_seq=run.parked_seq if run.parked else event.seq))


def _unparked(run: Run, event: Event, p: RunUnparked) -> Step:
    return Step(replace(run, parked=""))


def _attached(run: Run, event: Event, p: EvidenceAttached) -> Step:
    proof = Evidence(p.evidence_kind, p.ref, p.digest or "", p.by, event.ts)
    return Step(replace(run, evidence={**run.evidence, p.evidence_kind: proof}))


def _met(run: Run, event: Event, p: ObligationMet) -> Step:
    return Step(replace(run, owed={name: owner for name, owner in run.owed.items() if name != p.obligation}))


def _resulted(run: Run, event: Event, p: RunResulted) -> Step:
    return Step(replace(run, result=p.status, message=event.text("text")[:2_000]))


def _controlled(run: Run, event: Event, p: Controlled) -> Step:
    if p.verb in ("cancel", "kill"):
        return Step(replace(run, stopping=True))
    if p.verb != "steer":
        return Step(run)
    message = Steering(p.control_id, p.mode, event.actor.id, event.seq, event.ts)
    return Step(replace(run, steering={**run.steering, p.control_id: message}), steering=message)


def _delivered(run: Run, event: Event, p: SteeringDelivered) -> Step:
    message = run.steering.get(p.control_id)
    if message is None:
        return Step(run)
    message = replace(message, delivered_seq=event.seq)
    return Step(replace(run, steering={**run.steering, p.control_id: message}), steering=message)


def _seen(run: Run, event: Event, p: SteeringSeen) -> Step:
    message = run.steering.get(p.control_id)
    if message is None:
        return Step(run)
    message = replace(message, delivered_seq=message.delivered_seq or event.seq, seen_seq=event.seq)
    left = {key: value for key, value in run.steering.items() if key != p.control_id}
    return Step(replace(run, steering=left), steering=message)


def _intent(run: Run, event: Event, p: IntentRecorded) -> Step:
    action = Action(
        id=p.action_id,
        run=event.run,
        key=p.idempotency_key,
        tool=p.tool,
        door=p.door,
        effect_class=p.effect_class,
        target=p.target,
        agent=p.requested_by,
        grade=p.grade,
        args=p.args.digest,
        schema=p.schema or "",
        files=p.files or (),
        intent=event.id,
        opened_seq=event.seq,
        opened_ts=event.ts,
    )
    calls = run.tool_calls + (1 if p.door in ("tool", "mcp") else 0)
    return _with(replace(run, tool_calls=calls), action)


def _verdict(run: Run, event: Event, p: VerdictGiven) -> Step:
    action = run.actions.get(p.action_id)
    if action is None:
        return Step(run)
    changed = replace(
        action,
        verdict=event.id,
        decision=p.decision,
        reason_code=p.reason_code,
        rule=p.rule_ids[0] if p.rule_ids else action.rule,
        risk=p.risk,
        message=p.message,
        expires=p.expires if p.decision == "ESCALATE" else action.expires,
        state="waiting" if p.decision == "ESCALATE" else "judged",
        obligations=p.obligations,
        grant=p.grant or "",
    )
    if action.state == "waiting" and p.decision == "DENY" and not changed.answer:
        answer = "expired" if p.reason_code == "APPROVAL_TIMEOUT" else "withdrawn"
        changed = replace(changed, answer=answer, answered_ts=event.ts)
    return _with(replace(run, denied=run.denied + (p.decision == "DENY")), changed)


def _requested(run: Run, event: Event, p: ApprovalRequested) -> Step:
    action = run.actions.get(p.action_id)
    if action is None:
        return Step(run)
    return _with(
        run,
        replace(
            action,
            approval=p.approval_id,
            request=event.id,
            request_seq=event.seq,
            title=p.title,
            expires=p.expires,
            files=p.files if p.files is not None else action.files,
            binding=p.binding or "",
            quorum=max(1, p.quorum),
            not_before=p.not_before,
            proof=p.proof or "none",
            roles=p.roles or (),
            not_requester=bool(p.not_requester),
            approvals=(),
        ),
    )


def _decided(run: Run, event: Event, p: ApprovalDecided) -> Step:
    for action in run.actions.values():
        if action.approval == p.approval_id:
            return _with(run, _answered(action, event, p))
    return Step(run)


def _answered(action: Action, event: Event, p: ApprovalDecided) -> Action:
    """One denial is an answer; an allowance is one when as many people as the rule asks for have given it."""
    if p.decision == "approve":
        action = replace(action, approvals=(*action.approvals, p.approver))
        if len(action.approvals) < action.quorum:
            return action
    return replace(
        action,
        answer=p.decision,
        answered_by=p.approver,
        answered_ts=event.ts,
        answer_reason=event.text("reason")[:2_000],
        edited=p.edited.digest if p.edited is not None else "",
        scope=p.scope or "once",
        decision_id=event.id,
    )


def _dispatched(run: Run, event: Event, p: Dispatched) -> Step:
    action = run.actions.get(p.action_id)
    if action is None:
        return Step(run)
    changed = replace(
        action,
        state="dispatched",
        dispatch=event.id,
        dispatch_seq=event.seq,
        executor=p.executor,
        hold_micro=p.hold_micro,
    )
    return _with(replace(run, held_micro=run.held_micro + p.hold_micro), changed)


def _forwarded(run: Run, event: Event, p: McpForwarded) -> Step:
    action = run.actions.get(p.action_id)
    return Step(run) if action is None else _with(run, replace(action, forwarded=True))


def _outcome(run: Run, event: Event, p: OutcomeRecorded) -> Step:
    action = run.actions.get(p.action_id)
    if action is None:
        return Step(run)
    usage = p.usage
    cost = usage.cost_micro if usage is not None else 0
    ended = replace(
        action,
        state="ended",
        status=p.status,
        outcome=event.id,
        outcome_seq=event.seq,
        ended_ts=event.ts,
        cost_micro=cost,
    )
    risky = p.status == "unknown" and action.door in ("tool", "mcp") and action.effect_class != "read"
    after = replace(
        run,
        actions={key: value for key, value in run.actions.items() if key != action.id},
        held_micro=run.held_micro - action.hold_micro,
        spent_micro=run.spent_micro + cost,
        input_tokens=run.input_tokens
        + (usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens if usage else 0),
        output_tokens=run.output_tokens + (usage.output_tokens if usage else 0),
        unknown=run.unknown + (1 if risky else 0),
        owed={**run.owed, **dict.fromkeys(action.obligations, action.id)} if p.status == "executed" else run.owed,
    )
    return Step(after, action=ended)


def _closed(run: Run, event: Event, p: RunClosed) -> Step:
    return Step(
        replace(
            run,
            closed=p.status,
            closed_ts=event.ts,
            reason_code=p.reason_code,
            message=p.message or run.message,
            connected=False,
            stopping=False,
            agents={},
            parents={},
            parked="",
        )
    )


def _with(run: Run, action: Action) -> Step:
    return Step(replace(run, actions={**run.actions, action.id: action}), action=action)


_APPLY: Final[dict[type, Apply]] = {
    RunStarted: _started,
    RunnerConnected: _connected,
    RunInterrupted: _interrupted,
    TurnStarted: _turn,
    AgentSpawned: _spawned,
    AgentEnded: _agent_ended,
    RunParked: _parked,
    RunUnparked: _unparked,
    EvidenceAttached: _attached,
    ObligationMet: _met,
    RunResulted: _resulted,
    Controlled: _controlled,
    SteeringDelivered: _delivered,
    SteeringSeen: _seen,
    IntentRecorded: _intent,
    VerdictGiven: _verdict,
    ApprovalRequested: _requested,
    ApprovalDecided: _decided,
    Dispatched: _dispatched,
    McpForwarded: _forwarded,
    OutcomeRecorded: _outcome,
    RunClosed: _closed,
}

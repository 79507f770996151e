"""What each receipt of a run says. The closed schema that a writer and a verifier check is derived from these classes,
from those of the log itself (`payloads_log`), and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.domain.content import Content, Digest, FileMark, Proof, Seen, Time, Usage
from app.domain.payload import Payload, receipt

# --- a run's life --------------------------------------------------------------------------------------------------


@receipt("run.open")
@dataclass(frozen=True, slots=True)
class RunCreated(Payload):
    run_no: int
    title: str
    task: Content
    agent: str
    model: str
    blueprint: str
    blueprint_digest: Digest
    policy: str
    policy_digest: Digest
    evaluator: str
    budget_micro: int
    workspace_digest: Digest | None = None


@receipt("run.close")
@dataclass(frozen=True, slots=True)
class RunClosed(Payload):
    status: Literal["complete", "failed", "cancelled", "interrupted"]
    reason_code: str
    message: str
    count: int
    spent_micro: int
    input_tokens: int
    output_tokens: int
    tool_calls: int
    killed: tuple[str, ...]


@receipt("event", "run.started")
@dataclass(frozen=True, slots=True)
class RunStarted(Payload):
    container: str
    image: str
    lease: int


@receipt("event", "runner.connected")
@dataclass(frozen=True, slots=True)
class RunnerConnected(Payload):
    runner: str
    sdk: str
    cli: str
    session: str
    lease: int


@receipt("event", "run.interrupted")
@dataclass(frozen=True, slots=True)
class RunInterrupted(Payload):
    reason_code: str
    message: str


@receipt("event", "turn.started")
@dataclass(frozen=True, slots=True)
class TurnStarted(Payload):
    turn: int
    source_seq: int | None = None


@receipt("event", "turn.ended")
@dataclass(frozen=True, slots=True)
class TurnEnded(Payload):
    turn: int
    source_seq: int | None = None


@receipt("event", "model.output")
@dataclass(frozen=True, slots=True)
class ModelOutput(Payload):
    text: Content
    message_id: str
    agent: str
    source_seq: int | None = None


@receipt("event", "model.thinking")
@dataclass(frozen=True, slots=True)
class ModelThinking(Payload):
    text: Content
    message_id: str
    agent: str
    source_seq: int | None = None


@receipt("event", "agent.spawned")
@dataclass(frozen=True, slots=True)
class AgentSpawned(Payload):
    agent: str
    agent_type: str
    parent: str
    tool_use_id: str
    source_seq: int | None = None


@receipt("event", "agent.ended")
@dataclass(frozen=True, slots=True)
class AgentEnded(Payload):
    agent: str
    agent_type: str
    summary: Content | None = None
    source_seq: int | None = None


@receipt("event", "steering.delivered")
@dataclass(frozen=True, slots=True)
class SteeringDelivered(Payload):
    control_id: str
    source_seq: int | None = None


@receipt("event", "steering.seen")
@dataclass(frozen=True, slots=True)
class SteeringSeen(Payload):
    control_id: str
    source_seq: int | None = None


@receipt("event", "api.retried")
@dataclass(frozen=True, slots=True)
class ApiRetried(Payload):
    attempt: int
    error: str
    delay_ms: int
    source_seq: int | None = None


@receipt("event", "run.noted")
@dataclass(frozen=True, slots=True)
class RunNoted(Payload):
    level: Literal["info", "warning", "error"]
    text: Content
    source_seq: int | None = None


@receipt("event", "run.resulted")
@dataclass(frozen=True, slots=True)
class RunResulted(Payload):
    status: Literal["complete", "failed"]
    text: Content
    reason: str
    turns: int
    source_seq: int | None = None


@receipt("event", "mcp.forwarded", requires="intent dispatch")
@dataclass(frozen=True, slots=True)
class McpForwarded(Payload):
    action_id: str
    server: str
    tool: str


@receipt("event", "run.parked")
@dataclass(frozen=True, slots=True)
class RunParked(Payload):
    """The run's container stands still and its slot is free: everything in it waits for a person."""

    reason: str


@receipt("event", "run.unparked")
@dataclass(frozen=True, slots=True)
class RunUnparked(Payload):
    reason: str


@receipt("event", "evidence.attached")
@dataclass(frozen=True, slots=True)
class EvidenceAttached(Payload):
    """A proof that a person or an operator's program laid beside a run: a change record, a CI result, a plan."""

    evidence_kind: str
    ref: str
    by: str
    digest: Digest | None = None  # of the thing that `ref` names, where the one who attached it gave it
    text: Content | None = None


@receipt("event", "obligation.met", requires="intent")
@dataclass(frozen=True, slots=True)
class ObligationMet(Payload):
    """What an earlier action owed has been done: by the action of the intent that is referred to."""

    action_id: str  # the action that met it
    obligation: str
    owed_by: str  # the action that owed it


@receipt("event", "grant.given", requires="request approval")
@dataclass(frozen=True, slots=True)
class GrantGiven(Payload):
    """A permission that a person gave with an answer: for one rule and tool, narrowed by a pattern, until it expires or
    is used up."""

    grant_id: str
    scope: Literal["run", "blueprint"]
    blueprint: str
    workspace: str
    tool: str
    rule: str
    pattern: str  # CEL; "" is always true
    uses: int
    expires: Time
    by: str


@receipt("control")
@dataclass(frozen=True, slots=True)
class Controlled(Payload):
    verb: Literal["steer", "pause", "resume", "cancel", "kill", "budget_change"]
    control_id: str
    mode: str
    text: Content | None = None


# --- one action: intent -> verdict -> dispatch -> outcome ------------------------------------------------------------


@receipt("intent")
@dataclass(frozen=True, slots=True)
class IntentRecorded(Payload):
    action_id: str
    tool: str
    effect_class: str
    args: Content
    idempotency_key: str
    target: str
    requested_by: str
    door: Literal["tool", "mcp", "model", "egress"]
    grade: Literal["structural", "cooperative"]
    schema: Digest | None = None  # the pinned schema that the arguments fit
    files: tuple[FileMark, ...] | None = None


@receipt("verdict", requires="intent", optional="supersedes request approval")
@dataclass(frozen=True, slots=True)
class VerdictGiven(Payload):
    action_id: str
    decision: Literal["ALLOW", "DENY", "ESCALATE"]
    reason_code: str
    rule_ids: tuple[str, ...]
    policy_digest: Digest
    evaluator: str
    inputs: Content
    expires: Time
    obligations: tuple[str, ...]
    risk: Literal["low", "medium", "high", "irreversible"]
    message: str
    grant: str | None = None  # the grant that made an ESCALATE an ALLOW, and which of its uses this is
    grant_use: int | None = None


@receipt("approval.request", requires="intent verdict")
@dataclass(frozen=True, slots=True)
class ApprovalRequested(Payload):
    approval_id: str
    action_id: str
    challenge: str  # base64 of 32 random bytes
    title: str
    shown: Content
    quorum: int
    not_before: Time
    expires: Time
    risk: Literal["low", "medium", "high", "irreversible"]
    binding: Digest | None = None  # what an answer is about, whole (see approval.binding_of)
    files: tuple[FileMark, ...] | None = None  # as they were when this was asked
    proof: Literal["none", "key"] | None = None
    roles: tuple[str, ...] | None = None
    not_requester: bool | None = None
    requester: str | None = None


@receipt("approval.decision", requires="request")
@dataclass(frozen=True, slots=True)
class ApprovalDecided(Payload):
    approval_id: str
    decision: Literal["approve", "deny"]
    approver: str
    statement: str  # base64 of the canonical JSON that was agreed to
    proof: Proof
    seen: Seen
    reason: Content | None = None
    edited: Content | None = None  # the arguments that are allowed in place of those that were asked for
    scope: Literal["once", "run", "blueprint"] | None = None


@receipt("dispatch", requires="intent verdict", optional="approval")
@dataclass(frozen=True, slots=True)
class Dispatched(Payload):
    action_id: str
    attempt: int
    executor: str
    args_digest: Digest
    deadline: Time
    token: str
    hold_micro: int
    binding: Digest | None = None


@receipt("outcome", requires="intent verdict", optional="dispatch")
@dataclass(frozen=True, slots=True)
class OutcomeRecorded(Payload):
    action_id: str
    status: Literal["executed", "failed", "refused", "timeout", "cancelled", "unknown"]
    started: Time
    ended: Time
    recovered: bool
    result: Content | None = None
    error_class: str | None = None
    usage: Usage | None = None
    provider_request_id: str | None = None

"""What each receipt says: one frozen class per kind (and per `etype` of kind `event`). The closed schema that a writer
and a verifier check is derived from these classes and from nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeVar

from app.domain.content import Content, Digest, KeyStatement, Proof, Seen, Time, Usage


class Payload:
    """Base of all payloads; `kind` and `etype` are class facts."""

    __slots__ = ()
    kind: ClassVar[str] = ""
    etype: ClassVar[str] = ""
    requires: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()


PAYLOADS: Final[dict[tuple[str, str], type[Payload]]] = {}
P = TypeVar("P", bound=type[Payload])


def _receipt(kind: str, etype: str = "", *, requires: str = "", optional: str = "") -> Callable[[P], P]:
    """Register a payload class; `requires` and `optional` name the references that its receipts carry."""

    def register(cls: P) -> P:
        cls.kind, cls.etype = kind, etype
        cls.requires, cls.optional = tuple(requires.split()), tuple(optional.split())
        PAYLOADS[kind, etype] = cls
        return cls

    return register


# --- the log itself ------------------------------------------------------------------------------------------------


@_receipt("log.open")
@dataclass(frozen=True, slots=True)
class LogOpened(Payload):
    log_id: str
    software: str
    software_digest: Digest
    schema_digest: Digest
    keyset_digest: Digest
    key_protection: Literal["plaintext", "passphrase"]
    keys: tuple[KeyStatement, ...]
    previous: Digest | None = None
    reason: str | None = None


@_receipt("policy.set")
@dataclass(frozen=True, slots=True)
class PolicySet(Payload):
    bundle: str
    digest: Digest
    author: str
    diff_digest: Digest | None = None


@_receipt("recover")
@dataclass(frozen=True, slots=True)
class Recovered(Payload):
    last_seq: int
    orphans: tuple[str, ...]
    interrupted: tuple[str, ...]
    fsck: str


# --- a run's life --------------------------------------------------------------------------------------------------


@_receipt("run.open")
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


@_receipt("run.close")
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


@_receipt("event", "run.started")
@dataclass(frozen=True, slots=True)
class RunStarted(Payload):
    container: str
    image: str
    lease: int


@_receipt("event", "runner.connected")
@dataclass(frozen=True, slots=True)
class RunnerConnected(Payload):
    runner: str
    sdk: str
    cli: str
    session: str
    lease: int


@_receipt("event", "run.interrupted")
@dataclass(frozen=True, slots=True)
class RunInterrupted(Payload):
    reason_code: str
    message: str


@_receipt("event", "turn.started")
@dataclass(frozen=True, slots=True)
class TurnStarted(Payload):
    turn: int
    source_seq: int | None = None


@_receipt("event", "turn.ended")
@dataclass(frozen=True, slots=True)
class TurnEnded(Payload):
    turn: int
    source_seq: int | None = None


@_receipt("event", "model.output")
@dataclass(frozen=True, slots=True)
class ModelOutput(Payload):
    text: Content
    message_id: str
    agent: str
    source_seq: int | None = None


@_receipt("event", "model.thinking")
@dataclass(frozen=True, slots=True)
class ModelThinking(Payload):
    text: Content
    message_id: str
    agent: str
    source_seq: int | None = None


@_receipt("event", "agent.spawned")
@dataclass(frozen=True, slots=True)
class AgentSpawned(Payload):
    agent: str
    agent_type: str
    parent: str
    tool_use_id: str
    source_seq: int | None = None


@_receipt("event", "agent.ended")
@dataclass(frozen=True, slots=True)
class AgentEnded(Payload):
    agent: str
    agent_type: str
    summary: Content | None = None
    source_seq: int | None = None


@_receipt("event", "steering.delivered")
@dataclass(frozen=True, slots=True)
class SteeringDelivered(Payload):
    control_id: str
    source_seq: int | None = None


@_receipt("event", "steering.seen")
@dataclass(frozen=True, slots=True)
class SteeringSeen(Payload):
    control_id: str
    source_seq: int | None = None


@_receipt("event", "api.retried")
@dataclass(frozen=True, slots=True)
class ApiRetried(Payload):
    attempt: int
    error: str
    delay_ms: int
    source_seq: int | None = None


@_receipt("event", "run.noted")
@dataclass(frozen=True, slots=True)
class RunNoted(Payload):
    level: Literal["info", "warning", "error"]
    text: Content
    source_seq: int | None = None


@_receipt("event", "run.resulted")
@dataclass(frozen=True, slots=True)
class RunResulted(Payload):
    status: Literal["complete", "failed"]
    text: Content
    reason: str
    turns: int
    source_seq: int | None = None


@_receipt("event", "mcp.forwarded", requires="intent dispatch")
@dataclass(frozen=True, slots=True)
class McpForwarded(Payload):
    action_id: str
    server: str
    tool: str


@_receipt("control")
@dataclass(frozen=True, slots=True)
class Controlled(Payload):
    verb: Literal["steer", "pause", "resume", "cancel", "kill", "budget_change"]
    control_id: str
    mode: str
    text: Content | None = None


# --- one action: intent -> verdict -> dispatch -> outcome ------------------------------------------------------------


@_receipt("intent")
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


@_receipt("verdict", requires="intent", optional="supersedes request approval")
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


@_receipt("approval.request", requires="intent verdict")
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


@_receipt("approval.decision", requires="request")
@dataclass(frozen=True, slots=True)
class ApprovalDecided(Payload):
    approval_id: str
    decision: Literal["approve", "deny"]
    approver: str
    statement: str  # base64 of the canonical JSON that was agreed to
    proof: Proof
    seen: Seen
    reason: Content | None = None


@_receipt("dispatch", requires="intent verdict", optional="approval")
@dataclass(frozen=True, slots=True)
class Dispatched(Payload):
    action_id: str
    attempt: int
    executor: str
    args_digest: Digest
    deadline: Time
    token: str
    hold_micro: int


@_receipt("outcome", requires="intent verdict", optional="dispatch")
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

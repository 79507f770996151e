"""What a Run is: a value that its events make (see fold), and nothing else decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from app.domain.content import FileMark

Status: TypeAlias = Literal[
    "starting", "running", "waiting", "parked", "stopping", "interrupted", "finished", "failed", "stopped"
]
ActionState: TypeAlias = Literal["judged", "waiting", "dispatched", "ended"]

_CLOSED: Final[dict[str, Status]] = {
    "complete": "finished",
    "failed": "failed",
    "cancelled": "stopped",
    "interrupted": "interrupted",
}


class Action(Struct, frozen=True):
    """One intent and what became of it. Its id is stable from intent to outcome."""

    id: str
    run: str
    key: str
    tool: str
    door: str
    effect_class: str
    target: str
    agent: str
    grade: str
    args: str  # commitment digest
    intent: str  # receipt ids, "" where there is none yet
    opened_seq: int
    opened_ts: str
    state: ActionState = "judged"
    verdict: str = ""
    decision: str = "DENY"
    reason_code: str = ""
    rule: str = ""
    risk: str = "high"
    message: str = ""
    approval: str = ""
    request: str = ""
    request_seq: int = 0
    title: str = ""
    expires: str = ""
    answer: str = ""  # approve | deny | expired | withdrawn
    answered_by: str = ""
    answered_ts: str = ""
    answer_reason: str = ""
    dispatch: str = ""
    dispatch_seq: int = 0
    executor: str = ""
    hold_micro: int = 0
    forwarded: bool = False
    outcome: str = ""
    outcome_seq: int = 0
    status: str = ""
    ended_ts: str = ""
    cost_micro: int = 0
    schema: str = ""
    files: tuple[FileMark, ...] = ()  # as they were when the standing question was asked, or the call was judged
    obligations: tuple[str, ...] = ()
    binding: str = ""
    quorum: int = 1
    not_before: str = ""
    proof: str = "none"
    roles: tuple[str, ...] = ()
    not_requester: bool = False
    approvals: tuple[str, ...] = ()  # accounts that have allowed it so far
    edited: str = ""  # commitment digest of the arguments that were allowed in place of `args`
    decision_id: str = ""  # receipt id of the decision that released it
    scope: str = ""
    grant: str = ""

    @property
    def released_args(self) -> str:
        """The commitment of the arguments that may run."""
        return self.edited or self.args


class Evidence(Struct, frozen=True):
    """A proof that was laid beside a run."""

    kind: str
    ref: str
    digest: str
    by: str
    ts: str


class Steering(Struct, frozen=True):
    """A person's message into a live run and how far it came."""

    id: str
    mode: str
    by: str
    queued_seq: int
    queued_ts: str
    delivered_seq: int = 0
    seen_seq: int = 0

    @property
    def state(self) -> Literal["queued", "delivered", "seen"]:
        """The furthest point that the log shows."""
        return "seen" if self.seen_seq else "delivered" if self.delivered_seq else "queued"


class Run(Struct, frozen=True):
    """One execution of a blueprint with a task, as its events tell it."""

    id: str
    no: int
    title: str
    agent: str
    model: str
    blueprint: str
    blueprint_digest: str
    policy: str
    policy_digest: str
    budget_micro: int
    opened_seq: int
    opened_ts: str
    by: str
    last_seq: int
    last_ts: str
    run_seq: int
    closed: str = ""
    closed_ts: str = ""
    reason_code: str = ""
    message: str = ""
    interrupted: str = ""
    stopping: bool = False
    lease: int = 0
    container: str = ""
    session: str = ""
    connected: bool = False
    turn: int = 0
    spent_micro: int = 0
    held_micro: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    tool_calls: int = 0
    denied: int = 0
    unknown: int = 0
    result: str = ""
    source_seq: int = 0  # the highest of the runner's own numbers that is recorded
    actions: Mapping[str, Action] = {}  # those that have not ended
    steering: Mapping[str, Steering] = {}  # those not seen yet
    agents: Mapping[str, str] = {}  # live sub-agents: id -> type
    parents: Mapping[str, str] = {}  # live sub-agents: id -> the agent that started it
    parked: str = ""  # why its container stands still; "" when it does not
    parked_seq: int = 0  # since which receipt
    evidence: Mapping[str, Evidence] = {}  # by kind; the newest of a kind counts
    owed: Mapping[str, str] = {}  # obligation -> the executed action that owes it

    @property
    def live(self) -> bool:
        """Whether anything may still be added to it."""
        return not self.closed

    @property
    def status(self) -> Status:
        """The word that people see; it never says more than the log shows."""
        if self.closed:
            return _CLOSED[self.closed]
        if self.interrupted:
            return "interrupted"
        if self.stopping:
            return "stopping"
        if self.parked:
            return "parked"
        if any(action.state == "waiting" for action in self.actions.values()):
            return "waiting"
        return "running" if self.connected else "starting"

    def waiting(self) -> tuple[Action, ...]:
        """The actions that wait for a person, oldest first."""
        return tuple(action for action in self.actions.values() if action.state == "waiting")

"""What the policy is asked (Request) and what it answers (Decision). Plain values: whoever holds the same Request and
the same bundle gets the same Decision, in any process."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from app.domain.canonical import Json
from app.domain.reasons import Reason

WORKSPACE = "/workspace"
DEFAULT_TIMEOUT_S = 3600


class Verdict(StrEnum):
    """The policy's answer."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    ESCALATE = "ESCALATE"


class Risk(StrEnum):
    """How bad it is when the answer was wrong; decides the order of the inbox."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    IRREVERSIBLE = "irreversible"


class EffectClass(StrEnum):
    """What a tool does to the world, as the bundle's [tools] declares it."""

    READ = "read"
    WRITE = "write"
    EXECUTE = "execute"
    NETWORK = "network"
    MESSAGE = "message"
    MONEY = "money"
    SPAWN = "spawn"
    MODEL = "model"


class Grade(StrEnum):
    """How a verdict is enforced: Helm owns the only path, or a hook inside the container asks first."""

    STRUCTURAL = "structural"
    COOPERATIVE = "cooperative"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The run that asks."""

    id: str
    no: int = 0
    title: str = ""


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """The agent inside the run that asks; `path` names every agent from the lead down to it."""

    id: str = ""
    type: str = ""
    depth: int = 0
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetFacts:
    """Money of the run, in micro-dollars."""

    spent: int = 0
    reserved: int = 0
    cap: int = 0


@dataclass(frozen=True, slots=True)
class GrantFacts:
    """A grant as it stands when a call is judged. `pattern` is the source of a CEL condition, "" for always; `expires`
    is an RFC 3339 time in UTC."""

    id: str
    rule: str
    tool: str
    scope: str
    pattern: str
    expires: str
    uses_left: int
    by: str


@dataclass(frozen=True, slots=True)
class Request:
    """One intent, as the policy sees it. `args` is a JSON object that `strict_loads` has read.

    `effect_class` None means: as the bundle's [tools] declares. `blueprint` holds at least {"name": ...}. `now` is an
    RFC 3339 time in UTC, given from outside. `host`, `port` and `egress_listed` are for the tool "egress" (and may be
    set for web tools, when the host of their URL is known). `grants` are those that were given for this run
    and tool, and `evidence` maps each kind that is attached to the run to {"ref", "digest", "by", "at"}.
    """

    tool: str
    args: Json
    run: RunFacts
    now: str
    agent: AgentFacts = field(default_factory=AgentFacts)
    blueprint: Json = field(default_factory=dict)
    budget: BudgetFacts = field(default_factory=BudgetFacts)
    effect_class: EffectClass | None = None
    host: str = ""
    port: int = 0
    egress_listed: bool = False
    grade: Grade = Grade.COOPERATIVE
    cwd: str = WORKSPACE
    grants: tuple[GrantFacts, ...] = ()
    evidence: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """How people may answer an ESCALATE: within `timeout_s` seconds, or it is DENY with APPROVAL_TIMEOUT.

    `quorum` different people must allow it, not earlier than `delay_s` seconds after it was asked (a refusal counts at
    any time); `proof` "key": each signs with a key that was enrolled before; `roles`: who may answer, empty for all who
    may; `not_requester`: who started the run may not allow it.
    """

    timeout_s: int = DEFAULT_TIMEOUT_S
    quorum: int = 1
    delay_s: int = 0
    proof: Literal["none", "key"] = "none"
    roles: tuple[str, ...] = ()
    not_requester: bool = False

    @property
    def plain(self) -> bool:
        """Whether one answer of anybody who may answer is enough."""
        ceremony = self.quorum != 1 or self.delay_s or self.proof != "none" or self.roles or self.not_requester
        return not ceremony


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, with everything that a receipt needs to say why.

    `inputs` is the exact JSON value that the evaluator read: the same bundle and the same inputs give this again.
    `message` never holds a value out of the arguments. `approval` is set exactly when the verdict is ESCALATE, and
    `grant` when a grant made an ALLOW of it.
    """

    verdict: Verdict
    reason: Reason
    rule_ids: tuple[str, ...]
    message: str
    risk: Risk
    effect_class: EffectClass | None
    policy_digest: str
    evaluator: str
    inputs: Json
    approval: ApprovalTerms | None = None
    obligations: tuple[str, ...] = ()
    grant: str = ""

    @property
    def allowed(self) -> bool:
        """Whether the effect may happen now. Anything but ALLOW may not."""
        return self.verdict is Verdict.ALLOW

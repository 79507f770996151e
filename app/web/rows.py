"""What one line of a run's timeline shows. One frozen class per event kind, drawn by `templates/fragments/<kind>.html`.

Times are milliseconds since the epoch in UTC, money is integer micro-dollars, text is as the agent sent it: the
templates escape it and make hidden characters visible, so no caller cleans it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Tone(StrEnum):
    """How a thing stands: amber waits for a person, green and red only say how something ended."""

    QUIET = "quiet"
    NEED = "need"
    WELL = "well"
    BAD = "bad"


class RunStatus(StrEnum):
    """The status words of a run; none of them claims more than is known."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    PARKED = "parked"
    PAUSED = "paused"
    STOPPING = "stopping"
    INTERRUPTED = "interrupted"
    STALLED = "stalled"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class CallState(StrEnum):
    """Where a tool call stands between the question and its outcome."""

    ASKED = "asked"
    WAITING = "waiting"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    DENIED = "denied"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class AnswerState(StrEnum):
    """What became of an approval. OPEN waits; everything else is over or on its way."""

    OPEN = "open"
    RECORDED = "recorded"
    DELIVERED = "delivered"
    EXECUTED = "executed"
    FAILED = "failed"
    NOT_DELIVERED = "not_delivered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    UNKNOWN = "unknown"


class SteerMode(StrEnum):
    """When a message reaches the agent: after the turn, at the next step, or now with the step cancelled."""

    QUEUE = "queue"
    STEER = "steer"
    INTERRUPT = "interrupt"


class SteerState(StrEnum):
    """How far a message has come. INDETERMINATE is never sent again by itself."""

    QUEUED = "queued"
    DELIVERED = "delivered"
    SEEN = "seen"
    INDETERMINATE = "indeterminate"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class TurnRow:
    """Heading of a turn of the lead agent. `duration_ms` is None while the turn is going on."""

    key: str
    number: int
    at_ms: int
    duration_ms: int | None = None
    spent: int = 0
    lane: str = ""


@dataclass(frozen=True, slots=True)
class SinceRow:
    """Divider: everything below arrived after this person last looked."""

    key: str
    at_ms: int
    lane: str = ""


@dataclass(frozen=True, slots=True)
class StartedRow:
    """The run began. `facts` are short label/value pairs: image, model, policy digest."""

    key: str
    seq: int
    at_ms: int
    blueprint: str
    by: str
    facts: tuple[tuple[str, str], ...] = ()
    lane: str = ""


@dataclass(frozen=True, slots=True)
class TextRow:
    """Words of the model, as saved (a preview is not a row). `message` and `units` (UTF-16, before any cut) tell a page
    which words on their way these are, and how much of them is saved now."""

    key: str
    seq: int
    at_ms: int
    text: str
    agent: str = "lead"
    lane: str = ""
    message: str = ""
    units: int = 0


@dataclass(frozen=True, slots=True)
class CallRow:
    """A tool call on one line. `detail_href` loads a `CallDetail` on demand; empty = nothing to open.

    `note` stands in the line when the call did not simply succeed ("exit 6", "TOOL_DENIED").
    """

    key: str
    seq: int
    at_ms: int
    verb: str
    target: str
    state: CallState
    duration_ms: int | None = None
    spent: int | None = None
    note: str = ""
    rule: str = ""
    reason_code: str = ""
    detail_href: str = ""
    lane: str = ""


@dataclass(frozen=True, slots=True)
class CallDetail:
    """The opened call: arguments and result in full or cut, with the verdict that let it through or stopped it."""

    key: str
    arguments: str
    result: str = ""
    result_size: int = 0
    result_cut: bool = False
    verdict: str = ""
    rule: str = ""
    reason_code: str = ""
    grade: str = ""
    policy_digest: str = ""
    receipts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EgressRow:
    """A host that the run reached for, tucked under the call that caused it. `seq` 0 hides the number."""

    key: str
    seq: int
    at_ms: int
    host: str
    port: int
    allowed: bool
    rule: str = ""
    reason_code: str = ""
    lane: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """The place where an approval blocked (or had blocked) the run."""

    key: str
    seq: int
    at_ms: int
    approval: str
    title: str
    rule: str
    state: AnswerState = AnswerState.OPEN
    answer: str = ""
    by: str = ""
    answered_ms: int | None = None
    reason: str = ""
    expires_ms: int | None = None
    lane: str = ""


@dataclass(frozen=True, slots=True)
class SteeringRow:
    """A message of a person to the agent. `seen_seq` is the event at which the agent had read it."""

    key: str
    seq: int
    at_ms: int
    text: str
    mode: SteerMode
    state: SteerState
    by: str
    seen_seq: int = 0
    lane: str = ""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model call, with what the key proxy metered."""

    key: str
    seq: int
    at_ms: int
    model: str
    tokens_in: int
    tokens_out: int
    spent: int
    duration_ms: int | None = None
    note: str = ""
    lane: str = ""


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """Something that Helm itself has to say: a limit, a reconnect, a refusal by the proxy."""

    key: str
    seq: int
    at_ms: int
    text: str
    tone: Tone = Tone.QUIET
    remedy: str = ""
    lane: str = ""


@dataclass(frozen=True, slots=True)
class EndedRow:
    """The run is over; said only when its whole process tree is gone."""

    key: str
    seq: int
    at_ms: int
    status: RunStatus
    reason: str = ""
    spent: int = 0
    receipts: int = 0
    duration_ms: int | None = None
    lane: str = ""


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A sub-agent: a box that holds its own rows. Its rows carry `lane=<agent>` and are appended to `#lane-<agent>`.

    `agent` is an id safe for an HTML id ([A-Za-z0-9_-]); `name` is what people read.
    """

    key: str
    agent: str
    name: str
    first_seq: int
    last_seq: int
    at_ms: int
    calls: int = 0
    spent: int = 0
    ended: bool = False
    note: str = ""
    rows: tuple[TimelineRow, ...] = ()
    lane: str = ""


TimelineRow = (
    TurnRow
    | SinceRow
    | StartedRow
    | TextRow
    | CallRow
    | EgressRow
    | ApprovalRow
    | SteeringRow
    | ModelRow
    | NoticeRow
    | EndedRow
    | LaneRow
)

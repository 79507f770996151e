"""What each page of the dashboard shows: frozen values, filled by the routes and drawn by `Faces` through Jinja2.

This module is the contract between routes and templates; it decides nothing. Times are milliseconds since the epoch in
UTC, money is integer micro-dollars, hostile text is passed as it is. Every `href` is a path of this server.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.web.payloads import DiffLine, Payload
from app.web.rows import AnswerState, RunStatus, SteerMode, TimelineRow, Tone
from app.web.views_gate import Ceremony, Drift, EditForm, EvidenceNote, FileNote, FrozenNote, GrantForm, Owed


@dataclass(frozen=True, slots=True)
class Notice:
    """A health banner on every page: what is wrong and the remedy ("Docker is not running", "sudo systemctl ...")."""

    title: str
    remedy: str = ""
    command: str = ""
    tone: Tone = Tone.BAD


@dataclass(frozen=True, slots=True)
class Shell:
    """What stands around every page. `today_cap` 0 = no cap is set; `head` is the log's newest seq at rendering.
    `may_act`: this person may answer, freeze and change things, not only look."""

    person: str
    csrf: str
    host: str = ""
    inbox_count: int = 0
    slots_used: int = 0
    slots_total: int = 0
    today_spent: int = 0
    today_reserved: int = 0
    today_cap: int = 0
    head: int = 0
    notices: tuple[Notice, ...] = ()
    frozen: tuple[FrozenNote, ...] = ()
    may_act: bool = True


class ItemKind(StrEnum):
    """The five reasons why something waits for a person."""

    PERMISSION = "permission"
    QUESTION = "question"
    BUDGET = "budget"
    UNKNOWN = "unknown"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class InboxItem:
    """One row of the inbox, in the order given. `group` is the sort reason ("Expires soon"); `pickable`: it can be
    answered together with others; `glyph` takes the place of its kind's."""

    key: str
    kind: ItemKind
    title: str
    run_name: str
    agent: str
    cost: str
    group: str
    since_ms: int
    expires_ms: int | None = None
    status: RunStatus | None = None
    pickable: bool = False
    glyph: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """One cell of the card's grid: label, value and a smaller line under it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered and what became of it. `mine` = this person's own answer; `how` it was allowed: "once",
    "edited", "run" or "blueprint"."""

    state: AnswerState = AnswerState.OPEN
    answer: str = ""
    by: str = ""
    at_ms: int | None = None
    reason: str = ""
    note: str = ""
    mine: bool = True
    how: str = "once"


@dataclass(frozen=True, slots=True)
class PastDecision:
    """An earlier decision about something like this."""

    target: str
    allowed: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class Touch:
    """Something that the action can reach: `icon` names a sprite symbol (globe, you, file, term, coin)."""

    icon: str
    what: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class RuleText:
    """The rule that caught the call: its file, its id and its lines with their numbers."""

    rule: str
    file: str = ""
    lines: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Money:
    """A budget: spent + reserved of cap. `cap` 0 = none."""

    spent: int
    reserved: int = 0
    cap: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """The open inbox item. `available` is what the server offers this person now (`domain.approval.Offer.choices`, or
    "dismiss", "accept", "reject" where no call waits); `blocked` says why allowing is not among it. `trouble` is why an
    answer was refused; `panel` the form that stays open with what was typed. `moved_key`: the question that took
    this one's place. `edit_lines`: the edited call beside the asked one, once it was allowed so."""

    key: str
    kind: ItemKind
    title: str
    run_id: str
    run_name: str
    agent: str
    blueprint: str
    seq: int
    position: int
    total: int
    since_ms: int
    money: Money
    sub_agent: bool = False
    why: str = ""
    payload: Payload | None = None
    facts: tuple[Fact, ...] = ()
    expires_ms: int | None = None
    parked: bool = False
    answer: Answer = Answer()
    available: tuple[str, ...] = ()
    previous_key: str = ""
    next_key: str = ""
    touches: tuple[Touch, ...] = ()
    rule: RuleText | None = None
    past: tuple[PastDecision, ...] = ()
    status: RunStatus | None = None
    glyph: str = ""
    agents: tuple[str, ...] = ()
    blocked: str = ""
    not_before_ms: int | None = None
    signs: bool = False
    ceremony: Ceremony | None = None
    files: tuple[FileNote, ...] = ()
    edit: EditForm | None = None
    grant: GrantForm | None = None
    drift: Drift | None = None
    trouble: str = ""
    panel: str = ""
    typed: str = ""
    moved_key: str = ""
    edit_lines: tuple[DiffLine, ...] = ()


@dataclass(frozen=True, slots=True)
class GuideStep:
    """One line of the first-run guidance: done or what to do next (a link or a command)."""

    title: str
    done: bool
    text: str = ""
    href: str = ""
    action: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class InboxPage:
    """`opened` = the URL names the item (a phone shows the card); otherwise a desk previews the first one."""

    shell: Shell
    items: tuple[InboxItem, ...]
    card: Card | None = None
    opened: bool = False
    running: int = 0
    guide: tuple[GuideStep, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRow:
    """One line of the runs table. `needs` is empty when nothing waits for a person ("1 permission, 49 min")."""

    run_id: str
    name: str
    task: str
    blueprint: str
    status: RunStatus
    money: Money
    heard_ms: int
    needs: str = ""
    needs_tone: Tone = Tone.NEED


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a list: its value in the URL ("" = all), its words, how many it holds."""

    value: str
    label: str
    count: int


@dataclass(frozen=True, slots=True)
class RunsPage:
    """Runs, newest need first. `older_href` loads the next page; "" = that was all."""

    shell: Shell
    rows: tuple[RunRow, ...]
    filters: tuple[Filter, ...]
    active: str = ""
    query: str = ""
    older_href: str = ""
    guide: tuple[GuideStep, ...] = ()


@dataclass(frozen=True, slots=True)
class RunHead:
    """Header of a run. `modes` is what the agent can take now (empty = none); `approval` = an open one's key; `says`
    and `todo`: what happened and what to do, where it does not go on by itself; `unknown`: effects without outcome."""

    run_id: str
    name: str
    task: str
    blueprint: str
    status: RunStatus
    money: Money
    started_ms: int
    ended_ms: int | None = None
    heard_ms: int | None = None
    can_stop: bool = False
    modes: tuple[SteerMode, ...] = ()
    modes_note: str = ""
    approval: str = ""
    says: str = ""
    todo: str = ""
    unknown: int = 0
    frozen: FrozenNote | None = None


@dataclass(frozen=True, slots=True)
class SpendSeries:
    """Cumulative spend of one agent: (time, micro-dollars) steps, oldest first."""

    agent: str
    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SpendLine:
    """A line of a spend table: agent or model."""

    name: str
    calls: int
    tokens: int
    spent: int


@dataclass(frozen=True, slots=True)
class CostlyCall:
    """One of the dearest model calls."""

    seq: int
    what: str
    spent: int


@dataclass(frozen=True, slots=True)
class SpendTab:
    """Spend over time, by agent and by model. `blocked_ms`/`blocked_seq` mark where an approval holds the run."""

    money: Money
    from_ms: int
    to_ms: int
    series: tuple[SpendSeries, ...] = ()
    agents: tuple[SpendLine, ...] = ()
    models: tuple[SpendLine, ...] = ()
    costliest: tuple[CostlyCall, ...] = ()
    blocked_ms: int | None = None
    blocked_seq: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class EgressLine:
    """One destination of the run with its counts."""

    host: str
    port: int
    allowed: int
    denied: int
    last_ms: int
    rule: str = ""


@dataclass(frozen=True, slots=True)
class EvidenceTab:
    """What the log proves about this run. `verified` None = not checked since the head moved."""

    receipts: int
    first_seq: int
    last_seq: int
    head_hash: str
    key_id: str
    verified: bool | None = None
    checked_ms: int | None = None
    problem: str = ""
    policy_digest: str = ""
    counts: tuple[tuple[str, int], ...] = ()
    attached: tuple[EvidenceNote, ...] = ()
    owed: tuple[Owed, ...] = ()


@dataclass(frozen=True, slots=True)
class RunPage:
    """One run. `rows` are the newest ones, oldest first; `before` loads older (0 = none); `head` = last seq."""

    shell: Shell
    run: RunHead
    rows: tuple[TimelineRow, ...]
    spend: SpendTab
    evidence: EvidenceTab
    egress: tuple[EgressLine, ...] = ()
    before: int = 0
    head: int = 0


@dataclass(frozen=True, slots=True)
class TimelineChunk:
    """Older rows of a run, loaded by `GET /runs/<id>/timeline?before=<seq>`."""

    run_id: str
    rows: tuple[TimelineRow, ...]
    before: int = 0

"""`Faces` turns views into HTML: it names the template of each view and owns the Jinja2 environment, autoescaped.

Every value that a template prints passes `plain`: hidden characters are visible even where a template forgets to ask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from typing import TypedDict

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.web import text
from app.web.charts import spend_chart
from app.web.payloads import PayloadBody
from app.web.rows import (
    AnswerState,
    ApprovalRow,
    CallDetail,
    CallRow,
    CallState,
    EgressRow,
    EndedRow,
    LaneRow,
    ModelRow,
    NoticeRow,
    RunStatus,
    SinceRow,
    StartedRow,
    SteeringRow,
    TextRow,
    TimelineRow,
    Tone,
    TurnRow,
)
from app.web.views import Card, InboxPage, ItemKind, RunHead, RunPage, RunRow, RunsPage, Shell, TimelineChunk
from app.web.views_gate import HOURS, EditPreview, FrozenNote, Hold, PatternCount
from app.web.views_plain import BlueprintsPage, ErrorPage, EvidencePage, LoginPage, Page, SettingsPage, TokensBox
from app.web.views_rules import CaseRow, FindingRow, FreezePage, GrantsPage, PoliciesPage, PolicyEditPage, Trial

STATUS: Mapping[RunStatus, tuple[str, Tone, str]] = {
    RunStatus.STARTING: ("going", Tone.QUIET, "Starting"),
    RunStatus.RUNNING: ("going", Tone.QUIET, "Running"),
    RunStatus.WAITING: ("hand", Tone.NEED, "Waiting for you"),
    RunStatus.PARKED: ("paused", Tone.NEED, "Parked, waits for you"),
    RunStatus.PAUSED: ("paused", Tone.QUIET, "Paused by you"),
    RunStatus.STOPPING: ("stopped", Tone.QUIET, "Stopping"),
    RunStatus.INTERRUPTED: ("intr", Tone.QUIET, "Interrupted (restart)"),
    RunStatus.STALLED: ("stall", Tone.NEED, "Stalled?"),
    RunStatus.FINISHED: ("ok", Tone.WELL, "Finished"),
    RunStatus.FAILED: ("bad", Tone.BAD, "Failed"),
    RunStatus.STOPPED: ("stopped", Tone.QUIET, "Stopped"),
    RunStatus.UNKNOWN: ("unk", Tone.NEED, "Outcome unknown"),
}
KIND: Mapping[ItemKind, tuple[str, str]] = {
    ItemKind.PERMISSION: ("hand", "Permission"),
    ItemKind.QUESTION: ("ask", "Question"),
    ItemKind.BUDGET: ("coin", "Budget"),
    ItemKind.UNKNOWN: ("unk", "Outcome unknown"),
    ItemKind.ATTENTION: ("stall", "Attention"),
}
CALL: Mapping[CallState, tuple[str, str, str]] = {
    CallState.ASKED: ("going", "t3", "asked"),
    CallState.WAITING: ("hand", "need", "waits for you"),
    CallState.RUNNING: ("going", "t3", "running"),
    CallState.OK: ("tick", "", "ok"),
    CallState.FAILED: ("x", "bad", "failed"),
    CallState.DENIED: ("deny", "bad", "denied"),
    CallState.EXPIRED: ("clock", "bad", "expired"),
    CallState.UNKNOWN: ("unk", "need", "outcome unknown"),
}
ANSWER: Mapping[AnswerState, str] = {
    AnswerState.OPEN: "open",
    AnswerState.RECORDED: "recorded",
    AnswerState.DELIVERED: "delivered",
    AnswerState.EXECUTED: "executed",
    AnswerState.FAILED: "failed",
    AnswerState.NOT_DELIVERED: "not delivered",
    AnswerState.EXPIRED: "expired",
    AnswerState.WITHDRAWN: "withdrawn",
    AnswerState.UNKNOWN: "outcome unknown",
}
WORD: Mapping[str, str] = {"ALLOW": "allowed", "DENY": "denied", "ESCALATE": "a person is asked", "?": "unknown"}
PAGES: Mapping[type[object], str] = {
    InboxPage: "inbox",
    RunsPage: "runs",
    RunPage: "run",
    BlueprintsPage: "blueprints",
    PoliciesPage: "policies",
    PolicyEditPage: "policy_edit",
    GrantsPage: "grants",
    FreezePage: "freeze",
    EvidencePage: "evidence",
    SettingsPage: "settings",
    LoginPage: "login",
    ErrorPage: "error",
}
ROWS: Mapping[type[object], str] = {
    TurnRow: "turn",
    SinceRow: "since",
    StartedRow: "started",
    TextRow: "text",
    CallRow: "call",
    EgressRow: "egress",
    ApprovalRow: "approval",
    SteeringRow: "steering",
    ModelRow: "model",
    NoticeRow: "notice",
    EndedRow: "ended",
    LaneRow: "lane",
}


class Op(TypedDict, total=False):
    """One change of the page, as `app.js` applies it."""

    op: str
    target: str
    html: str
    text: str
    lane: str
    message: str


def _printed(value: object) -> object:
    """What every template expression passes through before it is escaped."""
    return text.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _row_template(row: TimelineRow) -> str:
    return f"fragments/{ROWS[type(row)]}.html"


def _body_template(body: PayloadBody) -> str:
    return f"fragments/payload_{type(body).__name__.removesuffix('Body').lower()}.html"


def _clock(at_ms: int, form: str = "%H:%M", zone: tzinfo = UTC) -> str:
    return text.moment(at_ms, zone).strftime(form)


def _versions(static: Path) -> dict[str, str]:
    """A short content hash per shipped file, so that a browser never mixes two releases."""
    files = (path for path in static.rglob("*") if path.is_file())
    return {path.relative_to(static).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:10] for path in files}


class Faces:
    """Draws pages and fragments. One per process; `zone` is the zone of times until the browser writes its own."""

    def __init__(self, templates: Path, static: Path, zone: tzinfo = UTC) -> None:
        self._versions = _versions(static)
        self._jinja = Environment(
            loader=FileSystemLoader(templates),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_printed,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        words = (text.money, text.axis_money, text.thousands, text.size, text.took, text.ago, text.left, text.iso)
        self._jinja.filters.update({word.__name__: word for word in (*words, text.cut, text.plain, text.short_hash)})
        self._jinja.filters.update(v=text.visible, clock=partial(_clock, zone=zone), row_template=_row_template)
        self._jinja.filters.update(body_template=_body_template)
        tables = {"STATUS": STATUS, "KIND": KIND, "CALL": CALL, "ANSWER": ANSWER, "HOURS": HOURS, "WORD": WORD}
        self._jinja.globals.update(tables, asset=self.asset, share=text.share, spend_chart=spend_chart)

    @property
    def environment(self) -> Environment:
        """The Jinja2 environment, for a framework that wants to hold it."""
        return self._jinja

    def asset(self, name: str) -> str:
        """The address of a shipped file with its content hash. KeyError for a file that does not exist."""
        return f"/static/{name}?v={self._versions[name]}"

    def page(self, page: Page, now_ms: int) -> str:
        """A whole page."""
        shell: Shell | None = getattr(page, "shell", None)
        return self._draw(f"pages/{PAGES[type(page)]}.html", now_ms, page=page, shell=shell)

    def row(self, row: TimelineRow, now_ms: int) -> str:
        """One line of a timeline."""
        return self._draw(_row_template(row), now_ms, row=row)

    def chunk(self, chunk: TimelineChunk, now_ms: int) -> str:
        """Older lines: the answer to `GET /runs/<id>/timeline?before=<seq>`."""
        return self._draw("fragments/chunk.html", now_ms, chunk=chunk)

    def call_detail(self, detail: CallDetail, now_ms: int) -> str:
        """The answer to a call row's `detail_href`."""
        return self._draw("fragments/call_detail.html", now_ms, detail=detail)

    def card_foot(self, card: Card, now_ms: int) -> str:
        """The answer to `POST /inbox/<key>/answer` (200, 409 and 410 alike): what became of the card."""
        return self._draw("fragments/card_foot.html", now_ms, card=card)

    def edit_preview(self, preview: EditPreview, now_ms: int) -> str:
        """The answer to `POST /inbox/<key>/edit`: the edited call beside the asked one."""
        return self._draw("fragments/edit_preview.html", now_ms, preview=preview)

    def pattern_count(self, count: PatternCount, now_ms: int) -> str:
        """The answer to `POST /inbox/<key>/pattern`."""
        return self._draw("fragments/pattern_count.html", now_ms, count=count)

    def hold(self, hold: Hold, now_ms: int) -> str:
        """A bulk answer, while it can be undone and after."""
        return self._draw("fragments/hold.html", now_ms, hold=hold)

    def frozen(self, frozen: tuple[FrozenNote, ...], now_ms: int, *, may_act: bool) -> str:
        """The banners of what is frozen: the answer to `GET /freeze/banner`."""
        return self._draw("fragments/frozen.html", now_ms, frozen=frozen, may_act=may_act)

    def checked(self, findings: tuple[FindingRow, ...], cases: tuple[CaseRow, ...], now_ms: int) -> str:
        """The answer to `GET /policies/<name>/check`."""
        return self._draw("fragments/checked.html", now_ms, findings=findings, cases=cases)

    def trial(self, name: str, trial: Trial, now_ms: int, *, locked: str = "") -> str:
        """The answer to `POST /policies/<name>/test` and `/save`."""
        return self._draw("fragments/trial.html", now_ms, name=name, trial=trial, locked=locked)

    def tokens(self, box: TokensBox, now_ms: int) -> str:
        """The answer to a change of the API tokens."""
        return self._draw("fragments/tokens.html", now_ms, box=box)

    def appended(self, row: TimelineRow, now_ms: int) -> Op:
        """A new line at the end of its lane or of the timeline."""
        target = f"#lane-{row.lane}" if row.lane else "#timeline-live"
        return {"op": "append", "target": target, "html": self.row(row, now_ms)}

    def replaced(self, row: TimelineRow, now_ms: int) -> Op:
        """A line that is already there, drawn anew (a call that got its outcome, a message that was seen)."""
        if isinstance(row, LaneRow):
            html = self._draw("fragments/lane_head.html", now_ms, row=row)
            return {"op": "replace", "target": f"#lane-head-{row.agent}", "html": html}
        return {"op": "replace", "target": f"#row-{row.key}", "html": self.row(row, now_ms)}

    def preview(self, lane: str, message: str, words: str) -> Op:
        """Words on their way: the next piece of a message of the lead ("") or of a sub-agent's lane."""
        return {"op": "preview", "target": "#preview", "lane": lane, "message": message, "text": words}

    def run_head(self, run: RunHead, now_ms: int) -> list[Op]:
        """Status (which also decides whether Stop and the steering box show), money, and what to do with a run that
        does not go on by itself."""
        status = self._draw("fragments/run_status.html", now_ms, run=run)
        strip = self._draw("fragments/run_money.html", now_ms, run=run)
        over = self._draw("fragments/run_over.html", now_ms, run=run)
        return [
            {"op": "replace", "target": "[data-part=run-status]", "html": status},
            {"op": "replace", "target": "#run-money", "html": strip},
            {"op": "replace", "target": "[data-part=run-over]", "html": over},
        ]

    def run_side(self, page: RunPage, now_ms: int) -> list[Op]:
        """The side tabs of an open run page."""
        names = ("spend", "egress", "evidence")
        drawn = ((name, self._draw(f"fragments/side_{name}.html", now_ms, page=page)) for name in names)
        return [{"op": "replace", "target": f"#{name}-body", "html": html} for name, html in drawn]

    def run_line(self, row: RunRow, now_ms: int) -> Op:
        """A line of the runs table; a page that does not have it asks for its list again."""
        html = self._draw("fragments/run_line.html", now_ms, row=row)
        return {"op": "replace", "target": f"#run-{row.run_id}", "html": html}

    def answered(self, card: Card, now_ms: int) -> Op:
        """What became of a card, for everyone who has it open."""
        return {"op": "replace", "target": f"#card-foot-{card.key}", "html": self.card_foot(card, now_ms)}

    def _draw(self, template: str, now_ms: int, **context: object) -> str:
        return self._jinja.get_template(template).render(now_ms=now_ms, **context)


REFRESH_INBOX: Op = {"op": "refresh", "target": "#inbox-list"}
REFRESH_FROZEN: Op = {"op": "refresh", "target": "#frozen"}
REFRESH_FEET: Op = {"op": "refresh", "target": "[data-foot][data-open]"}


def badge(count: int) -> Op:
    """The inbox count on every page and in the title."""
    return {"op": "text", "target": "#badge", "text": str(count)}

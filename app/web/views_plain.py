"""The pages beside inbox and runs: blueprints, evidence, settings, login and errors. Same contract as `views`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.web.rows import Tone
from app.web.views import InboxPage, Notice, RunPage, RunsPage, Shell
from app.web.views_rules import FreezePage, GrantsPage, PoliciesPage, PolicyEditPage


@dataclass(frozen=True, slots=True)
class May:
    """A line of "what may it do": a tool or reach, the verdict in words, and the rule or reason."""

    what: str
    verdict: str
    note: str = ""
    tone: Tone = Tone.QUIET


@dataclass(frozen=True, slots=True)
class BlueprintRow:
    """A blueprint in the list."""

    name: str
    title: str
    purpose: str
    model: str
    cap: int
    runs: int = 0
    last_ms: int | None = None
    demo: bool = False


@dataclass(frozen=True, slots=True)
class StartForm:
    """The start form with what was typed, and errors by field name ("task", "title", "budget", "" = the whole form)."""

    task: str
    title: str
    budget: str
    errors: tuple[tuple[str, str], ...] = ()
    blocked: Notice | None = None


@dataclass(frozen=True, slots=True)
class BlueprintsPage:
    """List and, where one is chosen, its page with the start form. `opened` as in the inbox."""

    shell: Shell
    rows: tuple[BlueprintRow, ...]
    chosen: BlueprintRow | None = None
    may: tuple[May, ...] = ()
    form: StartForm | None = None
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """The result of re-checking the live log: `ok` with what was counted, or the first problem in words."""

    ok: bool
    at_ms: int
    receipts: int
    took_ms: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class EvidencePage:
    """Head of the log and its last check. The button posts to `/evidence/verify`."""

    shell: Shell
    receipts: int
    head_seq: int
    head_hash: str
    head_ms: int | None
    key_id: str
    log_id: str
    path: str
    check: Check | None = None
    kinds: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """A provider key: is it there, is its file private, how to set it. The key itself is never shown."""

    provider: str
    present: bool
    private: bool
    path: str
    command: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A signed-in browser. Revoke posts to `/settings/sessions/<key>/revoke`."""

    key: str
    device: str
    address: str
    since_ms: int
    seen_ms: int
    current: bool = False


@dataclass(frozen=True, slots=True)
class TokenRow:
    """An API token by its name. `seen_ms` 0 = never used. Revoke posts to `/settings/tokens/<key>/revoke`."""

    key: str
    name: str
    since_ms: int
    seen_ms: int = 0


@dataclass(frozen=True, slots=True)
class TokensBox:
    """The API tokens; `secret` is the new one's (the first row), shown in this answer and never again."""

    csrf: str
    rows: tuple[TokenRow, ...] = ()
    secret: str = ""
    example: str = ""


@dataclass(frozen=True, slots=True)
class ApproverKeyRow:
    """A key of this person's. Revoke posts `id` to `/settings/approver-keys/revoke`."""

    key: str
    name: str
    kind: str
    since_ms: int
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class SettingsPage:
    """Keys, tokens, sessions, theme and sign-out (`POST /logout`). `about`: label/value pairs (version, home, engine).
    `asks_password`: whether a new password needs the current one."""

    shell: Shell
    keys: tuple[KeyStatus, ...]
    sessions: tuple[SessionRow, ...]
    about: tuple[tuple[str, str], ...] = ()
    tokens: TokensBox = TokensBox("")
    asks_password: bool = True
    min_length: int = 12
    approver_keys: tuple[ApproverKeyRow, ...] = ()
    may_enroll: bool = True


class LoginStep(StrEnum):
    """Which form the login page shows."""

    ACCOUNT = "account"
    FIRST = "first"
    LINK_SPENT = "link_spent"


@dataclass(frozen=True, slots=True)
class LoginPage:
    """ACCOUNT posts `account` and `password` to `/login`; FIRST posts `password` and `again` to `action` (the one-time
    link); LINK_SPENT says that the link was used or is too old. `retry_s` > 0: too many attempts, wait that long."""

    csrf: str
    step: LoginStep
    account: str = ""
    action: str = "/login"
    error: str = ""
    retry_s: int = 0
    next_path: str = ""
    host: str = ""
    min_length: int = 12
    link_command: str = ""


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """An error that a person sees: status, plain title, what happened, what to do. `shell` None = not signed in."""

    status: int
    title: str
    detail: str
    remedy: str = ""
    reason_code: str = ""
    shell: Shell | None = None


Page = (
    InboxPage
    | RunsPage
    | RunPage
    | BlueprintsPage
    | PoliciesPage
    | PolicyEditPage
    | GrantsPage
    | FreezePage
    | EvidencePage
    | SettingsPage
    | LoginPage
    | ErrorPage
)

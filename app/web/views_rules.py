"""The pages of policies, grants and freezing. Same contract as `views`."""

from __future__ import annotations

from dataclasses import dataclass

from app.web.rows import Tone
from app.web.views import Shell
from app.web.views_gate import FrozenNote


@dataclass(frozen=True, slots=True)
class BundleRow:
    """A policy bundle in the list."""

    name: str
    title: str
    rules: int
    hits: int


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule, in its order. `verdict` is ALLOW, DENY or ESCALATE; `takes` what an answer needs, in words; `origin` the
    bundle that it comes from where that is another one."""

    number: int
    id: str
    verdict: str
    tools: tuple[str, ...]
    when: str = ""
    risk: str = ""
    takes: tuple[str, ...] = ()
    hits: int = 0
    message: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One thing that is wrong, and where. `error`: it keeps an edit from being saved."""

    file: str
    line: int
    column: int
    error: bool
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case of the bundle: what it should decide, and what it does."""

    name: str
    tool: str
    expected: str
    got: str
    ok: bool


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file of a bundle as it lies in its folder, or as it was typed."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A past call that would be decided otherwise."""

    seq: int
    run_id: str
    tool: str
    target: str
    before: str
    after: str
    rule_before: str = ""
    rule_after: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """What an edited text is worth: findings, cases, and what it would have changed. `tested` names the texts that were
    looked at; saving takes the same ones. `saves`: it may be saved. `history` None = it was not asked for; `base` is
    what the files are now that they were saved."""

    findings: tuple[FindingRow, ...] = ()
    cases: tuple[CaseRow, ...] = ()
    history: tuple[ChangedRow, ...] | None = None
    looked_at: int = 0
    unknown: int = 0
    more: int = 0
    tested: str = ""
    saves: bool = False
    unchanged: bool = False
    says: str = ""
    tone: Tone = Tone.QUIET
    base: str = ""


@dataclass(frozen=True, slots=True)
class PoliciesPage:
    """The bundles, and the rules of one of them. What its check finds is loaded by the page itself."""

    shell: Shell
    rows: tuple[BundleRow, ...]
    chosen: BundleRow | None = None
    about: str = ""
    digest: str = ""
    uses: tuple[str, ...] = ()
    rules: tuple[RuleRow, ...] = ()
    opened: bool = False


@dataclass(frozen=True, slots=True)
class PolicyEditPage:
    """The editor of one bundle. `base` names the files as they were read: another edit in between stays."""

    shell: Shell
    name: str
    files: tuple[BundleFile, ...]
    base: str
    trial: Trial = Trial()
    locked: str = ""


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant and how far it is used. `ended`: why it gives nothing any more ("" = it is in force)."""

    id: str
    tool: str
    rule: str
    where: str
    run_id: str
    pattern: str
    used: int
    uses: int
    by: str
    given_ms: int
    expires_ms: int
    ended: str = ""


@dataclass(frozen=True, slots=True)
class GrantsPage:
    """Standing permissions, those in force first."""

    shell: Shell
    active: tuple[GrantRow, ...] = ()
    ended: tuple[GrantRow, ...] = ()


@dataclass(frozen=True, slots=True)
class FreezePage:
    """The big control. `blueprints` and `runs` (id, name) are what else can be frozen."""

    shell: Shell
    frozen: tuple[FrozenNote, ...] = ()
    blueprints: tuple[str, ...] = ()
    runs: tuple[tuple[str, str], ...] = ()
    trouble: str = ""

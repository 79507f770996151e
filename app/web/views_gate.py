"""The parts of a card that answer it, and what stands around them: forms to edit a call, to give a grant, to look at a
tool that changed. Same contract as `views`: frozen values, hostile text as it is, times in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from app.web.payloads import DiffLine

FieldKind: TypeAlias = Literal["text", "long", "code", "integer", "number", "choice", "lines", "json"]
HoldState: TypeAlias = Literal["held", "undone", "applied"]
HOURS: tuple[tuple[int, str], ...] = (
    (900, "15 minutes"),
    (3_600, "1 hour"),
    (28_800, "8 hours"),
    (86_400, "1 day"),
    (604_800, "7 days"),
)


@dataclass(frozen=True, slots=True)
class FileNote:
    """A file that the call names, as it was when the question was asked. `was` is set where an earlier question about
    the same call saw another content."""

    path: str
    state: str
    digest: str = ""
    was: str = ""


@dataclass(frozen=True, slots=True)
class EditField:
    """One argument as a form shows it. `name` is the form's own; `present`: the call that was asked for has it."""

    name: str
    label: str
    kind: FieldKind
    value: str
    required: bool = False
    present: bool = True
    choices: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True, slots=True)
class EditPreview:
    """What the edited call is beside the one that was asked for. `digest` names the edited arguments that are shown;
    "" when they cannot be read or nothing is changed. `field`: where `error` is."""

    lines: tuple[DiffLine, ...] = ()
    digest: str = ""
    error: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class EditForm:
    """The call as a form. `whole`: one JSON text for all of it."""

    fields: tuple[EditField, ...]
    whole: bool = False
    preview: EditPreview = EditPreview()


@dataclass(frozen=True, slots=True)
class GrantForm:
    """What a grant would be for, with what was typed so far."""

    tool: str
    rule: str
    blueprint: str
    pattern: str
    scope: str = "run"
    lasts_s: int = 3_600
    uses: int = 20


@dataclass(frozen=True, slots=True)
class PatternCount:
    """How many past calls of the tool a pattern would have matched; `error`: what is wrong with it."""

    matched: int = 0
    looked_at: int = 0
    examples: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Ceremony:
    """What allowing takes beyond one press: so many people, a waiting time, a signature, a role, not the requester.
    `command` is what a terminal signs it with."""

    quorum: int = 1
    allowed_by: tuple[str, ...] = ()
    not_before_ms: int | None = None
    signed: bool = False
    roles: tuple[str, ...] = ()
    not_requester: bool = False
    command: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """A tool that says something else than before: both texts as one diff. `digest` names what it says now; `hints` are
    what in its words a person should look at twice."""

    server: str
    tool: str
    lines: tuple[DiffLine, ...]
    digest: str = ""
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldItem:
    """One of the items of a bulk answer, and what became of it ("" = nothing yet)."""

    key: str
    result: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """A bulk answer: held for some seconds, then undone or applied."""

    id: str
    answer: str
    items: tuple[HeldItem, ...]
    seconds: int = 0
    state: HoldState = "held"


@dataclass(frozen=True, slots=True)
class FrozenNote:
    """A scope in which nothing is dispatched. `what` is said to people ("everything", "blueprint market-intel")."""

    scope: str
    target: str
    what: str
    by: str
    at_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EvidenceNote:
    """A proof that lies beside a run."""

    kind: str
    ref: str
    by: str
    at_ms: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Owed:
    """An obligation that an action of the run has left."""

    obligation: str
    action: str

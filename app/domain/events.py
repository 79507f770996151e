"""An Event is a receipt as people and folds see it: its fact, its place, and the contents that it commits to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from app.domain.content import Content
from app.domain.payload import Payload
from app.domain.receipt import SYSTEM, Actor

Claims: TypeAlias = Callable[[Payload, Mapping[str, str], str], tuple[str, ...]]

# The log's own facts; every other kind belongs to a run.
SYSTEM_KINDS: Final = frozenset(
    {"log.open", "policy.set", "policy.reject", "recover", "key.add", "key.revoke"}
    | {"grant.revoke", "freeze", "tool.pin", "notice.clear"}
)

# What each kind is called in the live stream: `noun.verbed`. Kind `event` carries its own name.
NAMES: Final[dict[str, str]] = {
    "log.open": "log.opened",
    "policy.set": "policy.set",
    "policy.reject": "policy.rejected",
    "recover": "log.recovered",
    "key.add": "key.added",
    "key.revoke": "key.revoked",
    "grant.revoke": "grant.revoked",
    "freeze": "freeze.set",
    "tool.pin": "tool.pinned",
    "notice.clear": "notice.cleared",
    "run.open": "run.created",
    "run.close": "run.closed",
    "control": "control.requested",
    "intent": "intent.recorded",
    "verdict": "verdict.given",
    "approval.request": "approval.requested",
    "approval.decision": "approval.decided",
    "dispatch": "action.dispatched",
    "outcome": "outcome.recorded",
}


@dataclass(frozen=True, slots=True)
class Local:
    """A reference to an earlier draft of the same recording, by its index; the ledger puts the receipt's id there."""

    index: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A fact that somebody wants recorded. Contents may be unsealed; references may be local."""

    payload: Payload
    actor: Actor = SYSTEM
    refs: Mapping[str, str | Local] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """A recorded fact. `contents` holds the bytes behind the payload's commitments, where they are still kept."""

    seq: int
    run: str
    run_seq: int
    id: str
    kind: str
    ts: str
    actor: Actor
    refs: Mapping[str, str]
    payload: Payload
    contents: Mapping[str, Content]

    @property
    def name(self) -> str:
        """`noun.verbed`, as the live stream and the API call it."""
        return self.payload.etype or NAMES[self.kind]

    def content(self, name: str) -> bytes:
        """The bytes behind a field, or nothing where they were withheld or erased."""
        held = self.contents.get(name)
        return held.data or b"" if held is not None else b""

    def text(self, name: str) -> str:
        """The content of a field as text."""
        return self.content(name).decode("utf-8", "replace")


def claims_of(event_payload: Payload, refs: Mapping[str, str], run: str) -> tuple[str, ...]:
    """What a receipt takes for itself alone: each claim can be taken once in the life of the log. This is the one rule
    behind "one answer", "one dispatch", "one outcome" and "one intent per tool call"."""
    return _CLAIMS.get(event_payload.kind, _none)(event_payload, refs, run)


def _none(payload: Payload, refs: Mapping[str, str], run: str) -> tuple[str, ...]:
    maker = _EVENT_CLAIMS.get(payload.etype)
    claims = maker(payload, refs, run) if maker is not None else ()
    source_seq = getattr(payload, "source_seq", None)  # what a runner said twice is recorded once
    return claims if source_seq is None else (*claims, f"source/{run}/{source_seq}")


def _field(payload: Payload, name: str) -> str:
    return str(getattr(payload, name))


def _verdict_claims(payload: Payload, refs: Mapping[str, str]) -> tuple[str, ...]:
    return (f"supersede/{refs['supersedes']}",) if "supersedes" in refs else (f"verdict/{refs['intent']}",)


def _grant_claims(payload: Payload) -> tuple[str, ...]:
    """Each use of a grant is taken once: two calls at the same moment cannot both be its last one."""
    grant = getattr(payload, "grant", None)
    return () if grant is None else (f"grant/{grant}/{_field(payload, 'grant_use')}",)


_EVENT_CLAIMS: Final[dict[str, Claims]] = {
    "mcp.forwarded": lambda p, refs, run: (f"forward/{_field(p, 'action_id')}",),
    "steering.delivered": lambda p, refs, run: (f"delivered/{_field(p, 'control_id')}",),
    "steering.seen": lambda p, refs, run: (f"seen/{_field(p, 'control_id')}",),
    "run.resulted": lambda p, refs, run: (f"result/{run}",),
    "grant.given": lambda p, refs, run: (f"grant/{_field(p, 'grant_id')}",),
    "obligation.met": lambda p, refs, run: (f"met/{_field(p, 'owed_by')}/{_field(p, 'obligation')}",),
}
_CLAIMS: Final[dict[str, Claims]] = {
    "log.open": lambda p, refs, run: ("log.open",),
    "run.open": lambda p, refs, run: (f"open/{run}", f"run_no/{_field(p, 'run_no')}"),
    "run.close": lambda p, refs, run: (f"close/{run}",),
    "control": lambda p, refs, run: (f"control/{run}/{_field(p, 'control_id')}",),
    "intent": lambda p, refs, run: (
        f"intent/{_field(p, 'action_id')}",
        f"key/{run}/{_field(p, 'idempotency_key')}",
    ),
    "verdict": lambda p, refs, run: (*_verdict_claims(p, refs), *_grant_claims(p)),
    "key.add": lambda p, refs, run: (f"key_id/{_field(p, 'key_id')}",),
    "key.revoke": lambda p, refs, run: (f"key_revoked/{_field(p, 'key_id')}",),
    "grant.revoke": lambda p, refs, run: (f"grant_revoked/{_field(p, 'grant_id')}",),
    "approval.request": lambda p, refs, run: (f"request/{_field(p, 'approval_id')}",),
    "approval.decision": lambda p, refs, run: (f"answer/{_field(p, 'approval_id')}/{_field(p, 'approver')}",),
    "dispatch": lambda p, refs, run: (f"dispatch/{_field(p, 'action_id')}/{_field(p, 'attempt')}",),
    "outcome": lambda p, refs, run: (f"outcome/{refs.get('dispatch') or refs['intent']}",),
}

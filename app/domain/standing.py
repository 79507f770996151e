"""What outlives a run: grants, freezes, pinned tools, approvers' keys, and what a person should look at. A fold of the
log like a run is, small enough to be held whole."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from app.domain.payload import Payload
from app.domain.payloads import GrantGiven, RunClosed, VerdictGiven
from app.domain.payloads_log import (
    Frozen,
    GrantRevoked,
    KeyAdded,
    KeyRevoked,
    NoticeCleared,
    PolicyRejected,
    PolicySet,
    ToolPinned,
)
from app.domain.reasons import Reason

MOST_ENDED: Final = 200
MOST_NOTICES: Final = 500
POLICY_NOTICE: Final = "policy"


class Grant(Struct, frozen=True):
    """A person's permission, as far as it is used. Whether it has expired is a question of the time that is asked."""

    id: str
    run: str
    scope: Literal["run", "blueprint"]
    blueprint: str
    workspace: str
    tool: str
    rule: str
    pattern: str
    uses: int
    expires: str
    by: str
    given_seq: int
    given_ts: str
    used: int = 0
    revoked_by: str = ""
    revoked_ts: str = ""

    @property
    def left(self) -> int:
        """How many uses are left; none once it was revoked."""
        return 0 if self.revoked_by else max(0, self.uses - self.used)

    def covers(self, run: str, blueprint: str, workspace: str, tool: str) -> bool:
        """Whether it was given for such a run and tool."""
        if self.tool != tool:
            return False
        if self.scope == "run":
            return self.run == run
        return (self.blueprint, self.workspace) == (blueprint, workspace)


class Freeze(Struct, frozen=True):
    """A scope in which nothing is dispatched."""

    scope: Literal["all", "blueprint", "run"]
    target: str
    reason: str
    by: str
    seq: int
    ts: str


class ToolPin(Struct, frozen=True):
    """What a tool was when it was pinned, and what it says now where that is something else."""

    server: str
    tool: str
    state: Literal["pinned", "drifted", "accepted", "rejected"]
    digest: str  # what is pinned
    seq: int  # the receipt that holds its document
    ts: str
    drifted: str = ""  # digest of what the tool says now, while that is not accepted
    drifted_seq: int = 0

    @property
    def quarantined(self) -> bool:
        """Whether it must not be called."""
        return bool(self.drifted)


class ApproverKey(Struct, frozen=True):
    """A key with which a person signs answers."""

    id: str
    account: str
    type: Literal["ssh-ed25519", "sk-ssh-ed25519", "webauthn"]
    public: str
    name: str
    added_seq: int
    added_ts: str
    revoked_seq: int = 0


class Notice(Struct, frozen=True):
    """Something that a person should look at, which is no question of a call."""

    id: str
    kind: Literal["self_approval", "tool_drift", "policy"]
    title: str
    text: str
    run: str
    seq: int
    ts: str


class Standing(Struct, frozen=True):
    """All of it, as of one receipt."""

    grants: Mapping[str, Grant] = {}
    freezes: Mapping[str, Freeze] = {}
    tools: Mapping[str, ToolPin] = {}  # by "server/tool"
    keys: Mapping[str, ApproverKey] = {}
    notices: Mapping[str, Notice] = {}

    def frozen(self, run: str, blueprint: str) -> Freeze | None:
        """The freeze that a run is under, the widest first."""
        for key in (freeze_key("all", ""), freeze_key("blueprint", blueprint), freeze_key("run", run)):
            found = self.freezes.get(key)
            if found is not None:
                return found
        return None


class Told(Protocol):
    """What this fold reads of an event; a verifier's receipt has it too."""

    @property
    def id(self) -> str: ...
    @property
    def run(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def ts(self) -> str: ...
    @property
    def payload(self) -> Payload: ...


Apply: TypeAlias = Callable[[Standing, Told, Any], Standing]


def freeze_key(scope: str, target: str) -> str:
    """The name under which a freeze stands: one for each scope and target."""
    return f"{scope}:{target}"


def settle(standing: Standing, event: Told) -> Standing:
    """Apply one event. Total over every event; one that says nothing of this gives the same value back."""
    apply = _APPLY.get(type(event.payload))
    return apply(standing, event, event.payload) if apply is not None else standing


def _given(standing: Standing, event: Told, p: GrantGiven) -> Standing:
    grant = Grant(
        id=p.grant_id,
        run=event.run,
        scope=p.scope,
        blueprint=p.blueprint,
        workspace=p.workspace,
        tool=p.tool,
        rule=p.rule,
        pattern=p.pattern,
        uses=p.uses,
        expires=p.expires,
        by=p.by,
        given_seq=event.seq,
        given_ts=event.ts,
    )
    return replace(standing, grants=_bounded({**standing.grants, grant.id: grant}, event.ts))


def _bounded(grants: dict[str, Grant], now: str) -> dict[str, Grant]:
    """Those that can still be used, and the newest of those that cannot: the log remembers the others."""
    ended = [grant for grant in grants.values() if not grant.left or grant.expires <= now]
    for grant in sorted(ended, key=lambda grant: grant.given_seq)[: max(0, len(ended) - MOST_ENDED)]:
        del grants[grant.id]
    return grants


def _revoked(standing: Standing, event: Told, p: GrantRevoked) -> Standing:
    grant = standing.grants.get(p.grant_id)
    if grant is None:
        return standing
    grant = replace(grant, revoked_by=p.by or "system", revoked_ts=event.ts)
    return replace(standing, grants={**standing.grants, grant.id: grant})


def _judged(standing: Standing, event: Told, p: VerdictGiven) -> Standing:
    grant = standing.grants.get(p.grant or "")
    if grant is not None:
        grant = replace(grant, used=max(grant.used, p.grant_use or 0))
        standing = replace(standing, grants={**standing.grants, grant.id: grant})
    if p.reason_code == Reason.SELF_APPROVAL.value:
        title = "An agent tried to reach its own approval"
        standing = _noticed(
            standing, Notice(notice_id(event.id), "self_approval", title, p.message, event.run, event.seq, event.ts)
        )
    return standing


def notice_id(receipt: str) -> str:
    """The id of the notice that a receipt raises."""
    raw = bytes.fromhex(receipt.removeprefix("sha256:"))
    return "ntc_" + base64.b32encode(hashlib.sha256(raw).digest()[:10]).decode().lower()


def _noticed(standing: Standing, notice: Notice) -> Standing:
    notices = {**standing.notices, notice.id: notice}
    for old in sorted(notices.values(), key=lambda one: one.seq)[: max(0, len(notices) - MOST_NOTICES)]:
        del notices[old.id]
    return replace(standing, notices=notices)


def _cleared(standing: Standing, event: Told, p: NoticeCleared) -> Standing:
    return _without(standing, p.notice_id)


def _without(standing: Standing, notice: str) -> Standing:
    if notice not in standing.notices:
        return standing
    return replace(standing, notices={key: one for key, one in standing.notices.items() if key != notice})


def _froze(standing: Standing, event: Told, p: Frozen) -> Standing:
    key = freeze_key(p.scope, p.target)
    freezes = {name: freeze for name, freeze in standing.freezes.items() if name != key}
    if p.verb == "freeze":
        freezes[key] = Freeze(p.scope, p.target, p.reason, p.by, event.seq, event.ts)
    return replace(standing, freezes=freezes)


def _run_closed(standing: Standing, event: Told, p: RunClosed) -> Standing:
    key = freeze_key("run", event.run)
    if key not in standing.freezes:
        return standing
    return replace(standing, freezes={name: freeze for name, freeze in standing.freezes.items() if name != key})


def _pinned(standing: Standing, event: Told, p: ToolPinned) -> Standing:
    name = f"{p.server}/{p.tool}"
    old = standing.tools.get(name)
    if p.state in ("pinned", "accepted") or old is None:
        pin = ToolPin(p.server, p.tool, p.state, p.digest, event.seq, event.ts)
        if old is None and p.state not in ("pinned", "accepted"):
            pin = replace(pin, drifted=p.digest, drifted_seq=event.seq)  # nothing is pinned: nothing may be called
    else:
        pin = replace(old, state=p.state, drifted=p.digest, drifted_seq=event.seq)
    standing = replace(standing, tools={**standing.tools, name: pin})
    notice = f"tool:{name}"
    if p.state != "drifted":
        return _without(standing, notice)
    title = f"The tool {p.tool} of {p.server} says something else than before"
    text = "It is not called until you accept what it says now."
    if p.flags:
        text += f" Look twice: {'; '.join(p.flags)}."
    return _noticed(standing, Notice(notice, "tool_drift", title, text, "", event.seq, event.ts))


def _key_added(standing: Standing, event: Told, p: KeyAdded) -> Standing:
    account = p.role.partition(":")[2]
    key = ApproverKey(p.key_id, account, p.key_type, p.public, p.name, event.seq, event.ts)
    return replace(standing, keys={**standing.keys, key.id: key})


def _key_revoked(standing: Standing, event: Told, p: KeyRevoked) -> Standing:
    key = standing.keys.get(p.key_id)
    if key is None:
        return standing
    return replace(standing, keys={**standing.keys, key.id: replace(key, revoked_seq=event.seq)})


def _rejected(standing: Standing, event: Told, p: PolicyRejected) -> Standing:
    title = "An edit of the policies does not load"
    return _noticed(standing, Notice(POLICY_NOTICE, "policy", title, rejection_text(p), "", event.seq, event.ts))


def rejection_text(p: PolicyRejected) -> str:
    """Where a broken edit is broken, in words."""
    return f"{p.file} line {p.line}: {p.message}" if p.file else p.message


def _policy_set(standing: Standing, event: Told, p: PolicySet) -> Standing:
    return _without(standing, POLICY_NOTICE)


_APPLY: Final[dict[type, Apply]] = {
    GrantGiven: _given,
    GrantRevoked: _revoked,
    VerdictGiven: _judged,
    Frozen: _froze,
    RunClosed: _run_closed,
    ToolPinned: _pinned,
    KeyAdded: _key_added,
    KeyRevoked: _key_revoked,
    NoticeCleared: _cleared,
    PolicyRejected: _rejected,
    PolicySet: _policy_set,
}

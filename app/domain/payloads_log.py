"""What the log says of itself and of all that outlives a run: its keys, its policies, freezes, tools, approvers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.domain.content import Content, Digest, KeyStatement, Proof
from app.domain.payload import Payload, receipt


@receipt("log.open")
@dataclass(frozen=True, slots=True)
class LogOpened(Payload):
    log_id: str
    software: str
    software_digest: Digest
    schema_digest: Digest
    keyset_digest: Digest
    key_protection: Literal["plaintext", "passphrase"]
    keys: tuple[KeyStatement, ...]
    previous: Digest | None = None
    reason: str | None = None


@receipt("policy.set")
@dataclass(frozen=True, slots=True)
class PolicySet(Payload):
    bundle: str
    digest: Digest
    author: str
    diff_digest: Digest | None = None


@receipt("recover")
@dataclass(frozen=True, slots=True)
class Recovered(Payload):
    last_seq: int
    orphans: tuple[str, ...]
    interrupted: tuple[str, ...]
    fsck: str


@receipt("policy.reject")
@dataclass(frozen=True, slots=True)
class PolicyRejected(Payload):
    """An edit of the policies that did not load; what was in force stayed in force."""

    file: str
    line: int
    message: str


@receipt("key.add")
@dataclass(frozen=True, slots=True)
class KeyAdded(Payload):
    """A key with which a person signs answers, and the proof that they hold it."""

    role: str  # approver:<account>
    key_type: Literal["ssh-ed25519", "sk-ssh-ed25519", "webauthn"]
    key_id: str
    public: str  # base64 of the key blob (SSH wire form) or of the COSE key
    name: str
    by: str
    proof: Proof


@receipt("key.revoke")
@dataclass(frozen=True, slots=True)
class KeyRevoked(Payload):
    key_id: str
    role: str
    reason: str
    by: str


@receipt("grant.revoke")
@dataclass(frozen=True, slots=True)
class GrantRevoked(Payload):
    grant_id: str
    reason: str
    by: str


@receipt("freeze")
@dataclass(frozen=True, slots=True)
class Frozen(Payload):
    """From this receipt on nothing is dispatched in its scope, until an `unfreeze` of the same scope and target."""

    verb: Literal["freeze", "unfreeze"]
    scope: Literal["all", "blueprint", "run"]
    target: str  # "" for all
    reason: str
    by: str


@receipt("tool.pin")
@dataclass(frozen=True, slots=True)
class ToolPinned(Payload):
    """What a tool says of itself. `drifted`: it says something else now, and is not called until that is accepted."""

    server: str  # an MCP server of a blueprint, or "builtin"
    tool: str
    state: Literal["pinned", "drifted", "accepted", "rejected"]
    digest: Digest  # over the canonical JSON of {description, input_schema, output_schema}
    document: Content  # that JSON
    by: str
    previous: Digest | None = None
    flags: tuple[str, ...] | None = None  # what in its words a person should look at twice; a hint


@receipt("notice.clear")
@dataclass(frozen=True, slots=True)
class NoticeCleared(Payload):
    notice_id: str
    by: str

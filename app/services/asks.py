"""An intent on its way through the gate: what a door asks, why it may be refused before the policy, and the answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from app.domain.canonical import canonical_bytes
from app.domain.content import JSON, TEXT, Content, FileMark
from app.domain.errors import HelmError, InvalidInput
from app.domain.reasons import Reason
from app.domain.run import Action
from app.domain.standing import Grant
from app.domain.verdict import AgentFacts, Decision, EffectClass, Grade

MAX_ARGS: Final = 1_048_576
MAX_RESULT: Final = 262_144


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason to deny that was found before the policy was asked (budget, price, reconciliation)."""

    reason: Reason
    message: str = ""
    first: bool = False  # refused whatever the policy says, and named by this reason also where the policy denies


@dataclass(frozen=True, slots=True)
class Judged:
    """The law's answer and what it was read off."""

    decision: Decision
    schema: str = ""
    grant: Grant | None = None
    files: tuple[FileMark, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """One intent at a door. `key` makes a repeat the same intent; `hold_micro` is what its dispatch reserves."""

    run: str
    door: Literal["tool", "mcp", "model", "egress"]
    tool: str
    args: Any
    key: str
    executor: str
    grade: Grade
    agent: AgentFacts = field(default_factory=AgentFacts)
    effect_class: EffectClass | None = None
    host: str = ""
    port: int = 0
    egress_listed: bool = False
    hold_micro: int = 0
    refusal: Refusal | None = None
    cwd: str = "/workspace"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller at the door is told. `allowed` is True only when a durable dispatch stands behind it."""

    allowed: bool
    reason_code: str
    message: str
    rule: str = ""
    receipt_id: str = ""
    action: Action | None = None
    edited: dict[str, Any] | None = None  # the arguments that are allowed in place of those that were asked for


def args_content(args: Any) -> Content:
    """Arguments as the bytes that are judged, hashed and shown: canonical JSON, or, for what has no canonical form (and
    is always denied), plain JSON text."""
    try:
        return Content.of(canonical_bytes(args), JSON, MAX_ARGS)
    except InvalidInput:
        return Content.of(_escaped(args), TEXT, MAX_ARGS)


def _escaped(args: Any) -> bytes:
    try:
        return json.dumps(args, ensure_ascii=True).encode("ascii")
    except (ValueError, TypeError, RecursionError):
        return b"(arguments that are no JSON)"


def result_content(value: Any) -> Content:
    """A result as it is kept: text as text, anything else as JSON, cut at 256 KiB and marked."""
    if isinstance(value, str):
        return Content.text(value, MAX_RESULT)
    try:
        return Content.of(canonical_bytes(value), JSON, MAX_RESULT)
    except HelmError:
        return Content.of(_escaped(value), TEXT, MAX_RESULT)


def web_place(tool: str, args: Any) -> tuple[str, int]:
    """Host and port that a call names; the door decides about the connection itself all the same."""
    if tool == "egress" and isinstance(args, dict):
        host, port = args.get("host"), args.get("port")
        return (host, port) if isinstance(host, str) and type(port) is int else ("", 0)
    url = args.get("url") if tool == "WebFetch" and isinstance(args, dict) else None
    if not isinstance(url, str):
        return "", 0
    try:
        parts = urlsplit(url)
        return (parts.hostname or "")[:253], parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return "", 0

"""What an answer is about, and what may be answered: the digest that binds a question to the bytes that were judged,
and the choices that are open to one person at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from app.domain.canonical import canonical_bytes
from app.domain.content import FileMark
from app.domain.run import Action, Run
from app.domain.signing import sha256
from app.domain.standing import Standing
from app.domain.times import ms_of

Choice: TypeAlias = Literal["allow", "deny", "edit", "allow_run", "allow_pattern", "ask_again"]
_MAY_ANSWER: Final = frozenset({"owner", "approver"})


def binding_of(
    *,
    run: str,
    action: str,
    tool: str,
    args: str,
    schema: str,
    policy: str,
    principal: str,
    files: Iterable[FileMark],
    expires: str,
) -> str:
    """The digest that a question, its answer and the release share: `sha256:` over the canonical JSON of everything
    that was before the person's eyes or stood behind it. `args` is the commitment of the arguments."""
    marks = [{"path": mark.path, "state": mark.state, "digest": mark.digest or ""} for mark in files]
    said = {
        "v": 1,
        "run": run,
        "action": action,
        "tool": tool,
        "args": args,
        "schema": schema,
        "policy": policy,
        "principal": principal,
        "files": marks,
        "expires": expires,
    }
    return sha256(canonical_bytes(said))


@dataclass(frozen=True, slots=True)
class Answerer:
    """Who looks at a question."""

    account: str
    role: str  # owner | approver | viewer


@dataclass(frozen=True, slots=True)
class Offer:
    """What a person may do with an item now; where allowing is not among it, why not (for people), and when it will
    be (`not_before`, "" when waiting does not help). `proof` says whether an allowance must be signed."""

    choices: tuple[Choice, ...]
    blocked: str = ""
    not_before: str = ""
    proof: Literal["none", "key"] = "none"


def offer(action: Action, run: Run, standing: Standing, who: Answerer, now_ms: int) -> Offer:
    """The choices of one person at one moment. What is not offered is refused when it is tried."""
    if who.role not in _MAY_ANSWER:
        return Offer((), "You may look, and not answer; an owner can give you another role.")
    if action.state != "waiting":
        return Offer(("ask_again",) if action.answer == "expired" and run.live else ())
    if ms_of(action.expires) <= now_ms:
        return Offer((), "Its time has run out.")
    proof: Literal["none", "key"] = "key" if action.proof == "key" else "none"
    blocked, not_before = _blocked(action, run, standing, who, now_ms)
    if blocked:
        return Offer(("deny",), blocked, not_before, proof)
    return Offer(_open(action), "", "", proof)


def _open(action: Action) -> tuple[Choice, ...]:
    """A ceremony takes the call as it is, once; only a plain question can be edited or answered for later ones too."""
    plain = action.quorum == 1 and action.proof == "none" and not action.roles and not action.not_requester
    if not plain:
        return ("allow", "deny")
    choices: tuple[Choice, ...] = ("allow", "deny")
    if action.door in ("tool", "mcp"):
        choices += ("edit",)
    if not action.rule:
        return choices
    # What cannot be taken back is allowed for later calls only where a pattern says which ones.
    return (*choices, "allow_pattern") if action.risk == "irreversible" else (*choices, "allow_run", "allow_pattern")


def _blocked(action: Action, run: Run, standing: Standing, who: Answerer, now_ms: int) -> tuple[str, str]:
    """Why this person cannot allow it now, and from when on they can."""
    freeze = standing.frozen(run.id, run.blueprint)
    if freeze is not None:
        return f"{freeze.by} froze {freeze.target or 'everything'}; unfreeze it first.", ""
    if action.roles and who.role not in action.roles:
        return f"Only {_or(action.roles)} may allow this.", ""
    if action.not_requester and who.account == run.by:
        return "You started this run; somebody else must allow it.", ""
    if who.account in action.approvals:
        left = action.quorum - len(action.approvals)
        return f"You have allowed it; {left} more {'person' if left == 1 else 'people'} must.", ""
    if action.not_before and ms_of(action.not_before) > now_ms:
        return "It can be allowed after a waiting time.", action.not_before
    return "", ""


def _or(words: Sequence[str]) -> str:
    return " or ".join(f"an {word}" if word[0] in "aeio" else f"a {word}" for word in words)

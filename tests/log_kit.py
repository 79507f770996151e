"""Facts to record, a story of a whole log, and the pen of a forger who holds the keys."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from app.domain.canonical import b64, canonical_bytes, unb64
from app.domain.chain import Chain, Moment
from app.domain.content import JSON, Content, KeyStatement, Proof, Seen, Usage
from app.domain.events import Draft, Event, Local
from app.domain.ids import SYSTEM_RUN
from app.domain.logcheck import check_lines
from app.domain.logreport import LogReport
from app.domain.merkle import Frontier, leaf_hash
from app.domain.payloads import (
    ApprovalDecided,
    ApprovalRequested,
    Controlled,
    Dispatched,
    IntentRecorded,
    McpForwarded,
    OutcomeRecorded,
    RunClosed,
    RunCreated,
    RunNoted,
    VerdictGiven,
)
from app.domain.payloads_log import LogOpened, PolicySet
from app.domain.receipt import PAYLOAD_TYPE, POLICY, Actor, genesis_prev, parse, receipt_id
from app.domain.signing import Signer, pae
from app.domain.times import ms_of, text_of

LOG = "helm.local/log/" + "ab" * 16
DIGEST = "sha256:" + "0" * 64
POLICY_DIGEST = "sha256:" + "1" * 64
SIGNER = Signer.of(b"1" * 32)
APPROVER = Signer.of(b"2" * 32)
STRANGER = Signer.of(b"3" * 32)
TRUSTED = frozenset({SIGNER.public})
AGENT = Actor("agent", "lead", "agent")
ANA = Actor("human", "ana", "client")
START_MS = 1_795_000_000_000
HOUR_MS = 3_600_000

Fields = dict[str, Any]


def opened(signer: Signer = SIGNER, log: str = LOG) -> LogOpened:
    keys = (
        KeyStatement("receipt", b64(signer.public), 0, 0),
        KeyStatement("approver:ana", b64(APPROVER.public), 0, 0),
    )
    return LogOpened(log.rsplit("/", 1)[-1], "helm test", DIGEST, DIGEST, DIGEST, "plaintext", keys)


def created(no: int = 1, title: str = "A run") -> RunCreated:
    return RunCreated(
        no, title, Content.text("do it"), "claude", "m", "b", DIGEST, "default", POLICY_DIGEST, "cel", 5_000_000
    )


def note(text: str = "a note") -> RunNoted:
    return RunNoted("info", Content.text(text))


def intent(
    id: str, key: str = "", args: Content | None = None, door: Literal["tool", "mcp"] = "tool"
) -> IntentRecorded:
    content = args if args is not None else Content(b'{"command":"ls"}', JSON)
    return IntentRecorded(id, "Bash", "execute", content, key or f"key-{id}", "ls", "lead", door, "cooperative")


def verdict(
    id: str, decision: Literal["ALLOW", "DENY", "ESCALATE"], expires_ms: int = START_MS + 24 * HOUR_MS
) -> VerdictGiven:
    expires = text_of(expires_ms)
    inputs = Content(b"{}", JSON)
    return VerdictGiven(id, decision, "CODE", ("rule",), POLICY_DIGEST, "cel", inputs, expires, (), "low", "because")


def dispatch(id: str, args_digest: str, attempt: int = 1, hold_micro: int = 0) -> Dispatched:
    return Dispatched(id, attempt, "runner", args_digest, text_of(START_MS + 24 * HOUR_MS), f"tok-{id}", hold_micro)


def outcome(
    id: str,
    status: Literal["executed", "failed", "refused", "timeout", "cancelled", "unknown"] = "executed",
    cost: int = 0,
) -> OutcomeRecorded:
    now = text_of(START_MS)
    usage = Usage(10, 5, 1, 2, cost) if cost else None
    return OutcomeRecorded(id, status, now, now, status == "unknown", Content.text("done"), None, usage)


def question(id: str, approval: str, quorum: int = 1, expires_ms: int = START_MS + HOUR_MS) -> ApprovalRequested:
    shown = Content(b'{"title":"?"}', JSON)
    challenge = b64(approval.encode().ljust(32, b"c"))
    return ApprovalRequested(
        approval, id, challenge, "May it?", shown, quorum, text_of(START_MS - 1), text_of(expires_ms), "high"
    )


def answer(
    asked: Event,
    args: str,
    decision: Literal["approve", "deny"] = "approve",
    by: str = "ana",
    at_ms: int = START_MS,
    seen: Seen | None = None,
) -> ApprovalDecided:
    """The answer to a recorded question; its statement says what the service's says."""
    p = asked.payload
    assert isinstance(p, ApprovalRequested)
    statement = {
        "approval": p.approval_id,
        "decision": decision,
        "args": args,
        "shown": p.shown.digest,
        "challenge": p.challenge,
        "policy": POLICY_DIGEST,
        "run": asked.run,
        "by": by,
        "from": "127.0.0.1",
        "at": text_of(at_ms),
    }
    said = b64(canonical_bytes(statement))
    seen = seen or Seen(asked.seq, DIGEST)
    return ApprovalDecided(p.approval_id, decision, by, said, Proof("none", ""), seen, Content.text("ok"))


def closing(count: int, spent: int = 0, tokens_in: int = 0, tokens_out: int = 0, calls: int = 0) -> RunClosed:
    return RunClosed("complete", "COMPLETED", "done", count, spent, tokens_in, tokens_out, calls, ())


@dataclass
class Pen:
    """Writes a log in memory, one recording after the other, as the ledger would."""

    chain: Chain = field(default_factory=lambda: Chain(LOG, SIGNER, 0, "boot"))
    lines: list[bytes] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    ms: int = START_MS
    drawn: int = 0

    def write(self, run: str, *drafts: Draft) -> list[Event]:
        self.ms += 1
        moment = Moment(text_of(self.ms), self.ms * 1_000_000)
        sealed = self.chain.extend(run, self.chain.heads.get(run), drafts, moment, self._entropy)
        self.lines += [entry.line for entry in sealed]
        self.events += [entry.event for entry in sealed]
        return [entry.event for entry in sealed]

    def _entropy(self, size: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(size, "big")

    def close(self, run: str, **totals: int) -> None:
        self.write(run, Draft(closing(self.chain.heads[run].run_seq + 1, **totals)))

    def allowed(self, run: str, id: str, cost: int = 0) -> None:
        """One action from intent to outcome."""
        args = sealed_args(id)
        refs = {"intent": Local(0), "verdict": Local(1)}
        done = [
            Draft(intent(id, args=args), AGENT),
            Draft(verdict(id, "ALLOW"), POLICY, {"intent": Local(0)}),
            Draft(dispatch(id, args.digest), refs=refs),
            Draft(outcome(id, cost=cost), AGENT, {**refs, "dispatch": Local(2)}),
        ]
        self.write(run, *done)

    def denied(self, run: str, id: str) -> None:
        refs = {"intent": Local(0), "verdict": Local(1)}
        self.write(
            run,
            Draft(intent(id, args=sealed_args(id)), AGENT),
            Draft(verdict(id, "DENY"), POLICY, {"intent": Local(0)}),
            Draft(outcome(id, "refused"), refs=refs),
        )

    def asked(self, run: str, id: str, approval: str, quorum: int = 1) -> list[Event]:
        return self.write(
            run,
            Draft(intent(id, args=sealed_args(id), door="mcp"), AGENT),
            Draft(verdict(id, "ESCALATE"), POLICY, {"intent": Local(0)}),
            Draft(question(id, approval, quorum), refs={"intent": Local(0), "verdict": Local(1)}),
        )

    def approved(self, run: str, id: str, asked: list[Event], *people: Actor) -> list[Event]:
        args = sealed_args(id).digest
        refs: dict[str, str | Local] = {"intent": asked[0].id}
        seen = Seen(asked[2].seq, parse(self.lines[asked[2].seq]).root)
        answers = [
            Draft(answer(asked[2], args, by=who.id, at_ms=self.ms, seen=seen), who, {"request": asked[2].id})
            for who in people or (ANA,)
        ]
        last = len(answers) - 1
        given: dict[str, str | Local] = {"supersedes": asked[1].id, "request": asked[2].id, "approval": Local(last)}
        return self.write(
            run,
            *answers,
            Draft(verdict(id, "ALLOW"), POLICY, {**refs, **given}),
            Draft(dispatch(id, args), refs={**refs, "verdict": Local(last + 1), "approval": Local(last)}),
        )


def sealed_args(id: str) -> Content:
    return Content(b'{"command":"ls"}', JSON).sealed(id.encode().ljust(32, b"s"))


def story() -> Pen:
    """Two closed runs and an open one: allowed, denied, asked and approved, forwarded, unknown, steered."""
    pen = Pen()
    pen.write(SYSTEM_RUN, Draft(opened()))
    pen.write(SYSTEM_RUN, Draft(PolicySet("default", POLICY_DIGEST, "file")))
    pen.write("r1", Draft(created(1), ANA))
    pen.allowed("r1", "act1", cost=100)
    pen.denied("r1", "act2")
    pen.write("r2", Draft(created(2), ANA))
    asked = pen.asked("r1", "act3", "apr3")
    pen.allowed("r2", "act4", cost=7)
    given = pen.approved("r1", "act3", asked)
    dispatched = given[-1]
    to = {"intent": asked[0].id, "dispatch": dispatched.id}
    pen.write("r1", Draft(McpForwarded("act3", "mail", "send"), refs=to))
    pen.write("r1", Draft(outcome("act3"), AGENT, {**to, "verdict": given[-2].id}))
    pen.write("r2", Draft(Controlled("steer", "msg1", "queue", Content.text("go on")), ANA))
    pen.close("r1", spent=100, tokens_in=13, tokens_out=5, calls=3)
    args = sealed_args("act5")
    lost = pen.write(
        "r2",
        Draft(intent("act5", args=args), AGENT),
        Draft(verdict("act5", "ALLOW"), POLICY, {"intent": Local(0)}),
        Draft(dispatch("act5", args.digest), refs={"intent": Local(0), "verdict": Local(1)}),
    )
    refs = {"intent": lost[0].id, "verdict": lost[1].id, "dispatch": lost[2].id}
    pen.write("r2", Draft(outcome("act5", "unknown"), refs=refs))
    pen.close("r2", spent=7, tokens_in=13, tokens_out=5, calls=2)
    pen.write("r3", Draft(created(3), ANA))
    pen.write("r3", Draft(note("still open")))
    return pen


# --- forging ---


def fields_of(line: bytes) -> Fields:
    """The fields that a line signs, to be changed."""
    found: Fields = orjson.loads(unb64(orjson.loads(line)["payload"]))
    return found


def sign(fields: Fields, by: Signer = SIGNER, key_id: str = "") -> bytes:
    """A line over any fields at all, as who holds the key can write it."""
    return envelope(canonical_bytes(fields), by, key_id)


def envelope(inner: bytes, by: Signer = SIGNER, key_id: str = "", kind: str = PAYLOAD_TYPE) -> bytes:
    signature = {"keyid": key_id or by.key_id, "sig": b64(by.sign(pae(kind, inner)))}
    return canonical_bytes({"payload": b64(inner), "payloadType": kind, "signatures": [signature]})


Change = Callable[[list[Fields]], list[Fields] | None]


def rewrite(lines: list[bytes], change: Change, keep: tuple[str, ...] = (), by: Signer = SIGNER) -> list[bytes]:
    """Change the receipts and sign the whole history again, as an operator with every key can: numbers, roots, links,
    logical times and references are made right again, except the fields in `keep`."""
    bodies = [{**fields_of(line), "_id": receipt_id(line)} for line in lines]
    bodies = change(bodies) or bodies
    frontier, heads, renamed = Frontier(), dict[str, tuple[int, str, int]](), dict[str, str]()
    forged = []
    for body in copy.deepcopy(bodies):
        old = body.pop("_id")
        run_seq, prev, lamport = heads.get(body["run"], (-1, genesis_prev(body["log"], body["run"]), 0))
        right = {
            "seq": frontier.size,
            "root": "sha256:" + frontier.root().hex(),
            "run_seq": run_seq + 1,
            "prev": prev,
            "lamport": lamport + 1,
            "refs": {name: renamed.get(target, target) for name, target in body["refs"].items()},
        }
        kept = body.pop("_keep", ())
        body.update({name: value for name, value in right.items() if name not in (*keep, *kept)})
        line = sign(body, by)
        frontier.append(leaf_hash(line))
        renamed[old] = receipt_id(line)
        heads[body["run"]] = body["run_seq"], receipt_id(line), body["lamport"]
        forged.append(line)
    return forged


def at(bodies: list[Fields], kind: str, action: str = "", n: int = 0) -> Fields:
    """The `n`th receipt of a kind (and of an action)."""
    found = [b for b in bodies if b["kind"] == kind and action in ("", b["body"].get("action_id", ""))]
    return found[n]


def check(lines: list[bytes], trusted: frozenset[bytes] = TRUSTED) -> LogReport:
    return check_lines(lines, trusted)


def ms_at(line: bytes) -> int:
    return ms_of(parse(line).ts)

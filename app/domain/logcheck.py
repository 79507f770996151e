"""Checks a log line by line, from its first to its last: pure, total over any bytes, and the same for the live log, a
copy of it, or a file of lines.

The procedure. Each number stands again at its code:

 (1) form       the line is a receipt: size, envelope, base64, canonical JSON, closed schema, times
 (2) log        the first receipt is `log.open`; every receipt belongs to this log
 (3) key        signed by a key that `log.open` states for receipts, in its epoch, and that the caller trusts
 (4) position   numbers are contiguous, and are those under which the line is stored
 (5) prefix     `root` is the tree over all earlier lines
 (6) run        opens once with the next number, `run_seq` and `prev` follow on, nothing comes after its close, lamport
                is one more than the highest it could know, kinds of the log and kinds of a run do not mix
 (7) references exist, are earlier, in the same run and of the kind that their name says
 (8) actions    intent, verdicts, dispatch, outcome (`actioncheck`, 8a-8d)
 (9) approvals  (`actioncheck`; whose signature they bear, and the keys for it, `keycheck`)
(10) close      the count and the totals of `run.close`; everything dispatched has an outcome
(11) clock      steps backwards are warnings
(12) finish     what is still open is a warning; an empty log is an error

Memory: what open runs can still refer to, one short id for each closed run, and a bounded list of findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from app.domain.actioncheck import RunActions
from app.domain.canonical import unb64
from app.domain.content import KeyStatement
from app.domain.errors import InvalidInput
from app.domain.events import SYSTEM_KINDS
from app.domain.ids import SYSTEM_RUN
from app.domain.keycheck import check_added, check_revoked
from app.domain.logreport import Findings, LogReport
from app.domain.merkle import Frontier, leaf_hash
from app.domain.payloads import RunClosed, RunCreated
from app.domain.payloads_log import LogOpened, PolicySet
from app.domain.receipt import BadReceipt, Receipt, genesis_prev, parse, verify_signature
from app.domain.schema import SCHEMA_DIGEST
from app.domain.signing import Verifier
from app.domain.standing import Standing, settle

_REF_KINDS: Final = {
    "intent": "intent",
    "verdict": "verdict",
    "supersedes": "verdict",
    "request": "approval.request",
    "approval": "approval.decision",
    "dispatch": "dispatch",
}
_MOST_UNRESOLVED: Final = 1_000
_MOST_GAPS: Final = 1_000


@dataclass(slots=True)
class _Run:
    """The end of one run's chain and its actions."""

    run_seq: int
    last_id: str
    lamport: int
    actions: RunActions


@dataclass(frozen=True, slots=True)
class _Key:
    statement: KeyStatement
    verifier: Verifier


@dataclass(slots=True)
class LogCheck:
    """Feed it every line in order, then `finish`. `trusted` are raw public keys that came from outside the log; with
    none nothing can verify: a log that is only as good as the key inside it proves nothing (EVIDENCE 0.6)."""

    trusted: frozenset[bytes]
    log: str = ""  # when the caller knows which log it must be
    findings: Findings = field(default_factory=Findings)
    _frontier: Frontier = field(default_factory=Frontier)
    _keys: dict[str, _Key] = field(default_factory=dict)
    _runs: dict[str, _Run] = field(default_factory=dict)
    _closed: set[str] = field(default_factory=set)
    _policies: set[str] = field(default_factory=set)
    _standing: Standing = field(default_factory=Standing)
    _unresolved: dict[str, int] = field(default_factory=dict)  # id that was referred to and not found -> by which seq
    _gaps: set[int] = field(default_factory=set)
    _next: int = 0
    _lines: int = 0
    _run_no: int = 0
    _opened: int = 0
    _head: str = ""
    _last: Receipt | None = None

    def feed(self, seq: int, line: bytes) -> Receipt | None:
        """Take in the line stored under `seq`; the receipt in it, when it is one. Never raises."""
        self._lines += 1
        root = self._frontier.root()
        self._frontier.append(leaf_hash(line))
        try:
            receipt = parse(line)  # (1) form
        except BadReceipt as error:
            self._bad(error.code, seq, error.message)
            self._next = max(self._next, seq + 1)
            return None
        self._check_log(receipt)
        self._check_key(receipt)
        self._check_position(seq, receipt)
        if receipt.root != "sha256:" + root.hex():  # (5) prefix
            self._bad("E_PREFIX_ROOT", receipt.seq, "its root is not the tree over the lines before it")
        self._check_run(receipt)
        self._check_clock(receipt)
        self._head, self._last = receipt.id, receipt
        return receipt

    # (2) log

    def _check_log(self, receipt: Receipt) -> None:
        opened = receipt.payload
        if self._lines == 1:
            self.log = self.log or receipt.log
            if not isinstance(opened, LogOpened) or receipt.seq != 0:
                self._bad("E_LOG_MISMATCH", receipt.seq, "the log does not begin with log.open")
        elif isinstance(opened, LogOpened):
            self._bad("E_LOG_MISMATCH", receipt.seq, "the log is opened a second time")
        if receipt.log != self.log:
            self._bad("E_LOG_MISMATCH", receipt.seq, f"it belongs to the log {receipt.log}")
        if isinstance(opened, LogOpened) and self._lines == 1:
            if opened.log_id != receipt.log.rsplit("/", 1)[-1]:
                self._bad("E_LOG_MISMATCH", receipt.seq, "the log's id is not the one of its origin")
            if opened.schema_digest != SCHEMA_DIGEST:
                self.findings.add("W_SCHEMA_DIFFERS", receipt.seq, "the log was opened by another version of Helm")
            self._take_keys(receipt, opened)

    # (3) key

    def _take_keys(self, receipt: Receipt, opened: LogOpened) -> None:
        for statement in opened.keys:
            try:
                verifier = Verifier.of(unb64(statement.public))
            except InvalidInput:
                self._bad("E_KEY_INVALID_POINT", receipt.seq, f"the {statement.role[:40]} key is not a valid key")
                continue
            if verifier.key_id in self._keys:
                self._bad("E_KEY_DUP", receipt.seq, "one key stands for two roles or epochs")
                continue
            self._keys[verifier.key_id] = _Key(statement, verifier)

    def _check_key(self, receipt: Receipt) -> None:
        key = self._keys.get(receipt.key_id)
        if key is None:
            self._bad("E_SIG_KEYID", receipt.seq, "signed by a key that the log does not state")
            return
        if key.statement.role != "receipt":
            self._bad("E_KEY_ROLE", receipt.seq, f"signed by a {key.statement.role[:40]} key")
        if receipt.epoch != key.statement.epoch or receipt.seq < key.statement.not_before_seq:
            self._bad("E_KEY_EPOCH", receipt.seq, "the key is not the one of this epoch")
        if key.verifier.public not in self.trusted:
            self._bad("E_TRUST_NONE", receipt.seq, "signed by a key that you do not trust")
        if not verify_signature(receipt, key.verifier):
            self._bad("E_SIG_INVALID", receipt.seq, "the signature is not this key's over this receipt")

    # (4) position

    def _check_position(self, stored: int, receipt: Receipt) -> None:
        if receipt.seq != stored:
            self._bad("E_SEQ_ORDER", receipt.seq, f"stored as #{stored}")
        if receipt.seq == self._next:
            self._next += 1
        elif receipt.seq > self._next:
            self._bad("E_SEQ_GAP", receipt.seq, f"#{self._next} to #{receipt.seq - 1} are missing before it")
            self._gaps.update(range(self._next, min(receipt.seq, self._next + _MOST_GAPS - len(self._gaps))))
            self._next = receipt.seq + 1
        elif receipt.seq in self._gaps:
            self._gaps.discard(receipt.seq)
            self._bad("E_SEQ_ORDER", receipt.seq, "it comes after a later one")
        else:
            self._bad("E_SEQ_DUP", receipt.seq, "the number was used before")

    # (6) run

    def _check_run(self, receipt: Receipt) -> None:
        if (receipt.run == SYSTEM_RUN) != (receipt.kind in SYSTEM_KINDS):
            self._bad("E_RUN_MIXED", receipt.seq, f"{receipt.kind} does not belong into the run {receipt.run[:64]}")
        if receipt.run in self._closed:
            self._bad("E_RUN_AFTER_CLOSE", receipt.seq, "the run was closed before it")
            return
        run = self._runs.get(receipt.run)
        if run is None:
            run = self._open(receipt)
        else:
            self._follow(receipt, run)
        lamport = self._check_refs(receipt, run)
        if receipt.lamport != lamport:
            self._bad("E_LAMPORT", receipt.seq, f"its logical time is {receipt.lamport}, not {lamport}")
        run.run_seq, run.last_id, run.lamport = receipt.run_seq, receipt.id, receipt.lamport
        if isinstance(receipt.payload, PolicySet):
            self._policies.add(receipt.payload.digest)
        check_added(self.findings, receipt, self._standing, (key.verifier.public for key in self._keys.values()))
        check_revoked(self.findings, receipt, self._standing)
        run.actions.standing = self._standing
        run.actions.apply(receipt)  # (8), (9)
        self._standing = settle(self._standing, receipt)
        if isinstance(receipt.payload, RunClosed):
            run.actions.close(receipt, receipt.payload)  # (10) close
            del self._runs[receipt.run]
            self._closed.add(receipt.run)

    def _open(self, receipt: Receipt) -> _Run:
        if receipt.run_seq != 0:
            self._bad("E_RUN_SEQ", receipt.seq, f"the run begins with number {receipt.run_seq}")
        if receipt.prev != genesis_prev(receipt.log, receipt.run):
            self._bad("E_RUN_GENESIS", receipt.seq, "the run does not begin at its own origin")
        created = receipt.payload
        if isinstance(created, RunCreated):
            if created.run_no != self._run_no + 1:
                self._bad("E_RUN_NO_GAP", receipt.seq, f"run number {created.run_no} after {self._run_no}")
            self._run_no = created.run_no
            self._opened += 1
            self._policies.add(created.policy_digest)
        elif receipt.run != SYSTEM_RUN:
            self._bad("E_RUN_SEQ", receipt.seq, "the run does not begin with run.open")
        blueprint = created.blueprint if isinstance(created, RunCreated) else ""
        run = _Run(-1, "", 0, RunActions(self.findings, self._policies, receipt.run, blueprint, receipt.actor.id))
        self._runs[receipt.run] = run
        return run

    def _follow(self, receipt: Receipt, run: _Run) -> None:
        if receipt.run_seq != run.run_seq + 1:
            self._bad("E_RUN_SEQ", receipt.seq, f"number {receipt.run_seq} of its run after {run.run_seq}")
        if receipt.prev != run.last_id:
            self._bad("E_RUN_PREV", receipt.seq, "it does not follow on the run's previous receipt")
        if isinstance(receipt.payload, RunCreated):
            self._bad("E_RUN_SEQ", receipt.seq, "the run is opened a second time")

    # (7) references

    def _check_refs(self, receipt: Receipt, run: _Run) -> int:
        """The logical time that the receipt must have: references stay in a run, so the one before it is highest."""
        if receipt.id in self._unresolved:
            self._bad("E_REF_FORWARD", self._unresolved.pop(receipt.id), f"it refers to the later #{receipt.seq}")
        known = run.actions.known
        own = getattr(receipt.payload, "action_id", None)
        for name, target in receipt.refs.items():
            found = known.get(target)
            if found is None:
                self._bad("E_REF_MISSING", receipt.seq, f"{name} refers to nothing earlier in its run")
                if len(self._unresolved) < _MOST_UNRESOLVED:
                    self._unresolved[target] = receipt.seq
            elif found[0] != _REF_KINDS.get(name):
                self._bad("E_REF_KIND", receipt.seq, f"{name} refers to a receipt of kind {found[0]}")
            elif own is not None and found[1].id != own:
                self._bad(_FOREIGN.get(name, "E_ACT_NO_INTENT"), receipt.seq, f"{name} is of another action")
        return run.lamport + 1

    # (11) clock

    def _check_clock(self, receipt: Receipt) -> None:
        last = self._last
        if last is None:
            return
        steps_back = receipt.ts < last.ts
        if receipt.boot == last.boot and int(receipt.mono_ns[:20]) < int(last.mono_ns[:20]):
            steps_back = True
        if steps_back:
            self.findings.add("W_CLOCK_BACKWARDS", receipt.seq, f"{receipt.ts} comes after {last.ts}")

    # (12) finish

    def finish(self) -> LogReport:
        """What was found. The check may go on after it with more lines."""
        findings = Findings(list(self.findings.listed), self.findings.counts.copy())
        if not self._lines:
            findings.add("E_LOG_MISMATCH", -1, "the log is empty: not even log.open is there")
        open_runs = {name: run for name, run in self._runs.items() if name != SYSTEM_RUN}
        for name, run in open_runs.items():
            left = run.actions.open_deeds()
            findings.add(
                "W_RUN_OPEN", -1, f"run {name} is open" + (f"; {left} actions have no outcome" if left else "")
            )
        return LogReport(
            log=self.log,
            receipts=self._lines,
            runs=self._opened,
            open_runs=len(open_runs),
            head=self._head,
            root="sha256:" + self._frontier.root().hex(),
            newest=self._last.ts if self._last is not None else "",
            errors=tuple(finding for finding in findings.listed if finding.code.startswith("E_")),
            warnings=tuple(finding for finding in findings.listed if finding.code.startswith("W_")),
            error_counts={code: count for code, count in findings.counts.items() if code.startswith("E_")},
            warning_counts={code: count for code, count in findings.counts.items() if code.startswith("W_")},
        )

    def _bad(self, code: str, seq: int, message: str) -> None:
        self.findings.add(code, seq, message)


_FOREIGN: Final = {
    "verdict": "E_ACT_VERDICT_DIGEST",
    "supersedes": "E_ACT_VERDICT_DIGEST",
    "request": "E_APPR_BINDING",
    "approval": "E_APPR_BINDING",
    "dispatch": "E_ACT_OUTCOME_BEFORE_DISPATCH",
}


def check_lines(lines: Sequence[bytes], trusted: frozenset[bytes], log: str = "") -> LogReport:
    """The report on lines that are numbered from 0."""
    check = LogCheck(trusted, log)
    for seq, line in enumerate(lines):
        check.feed(seq, line)
    return check.finish()

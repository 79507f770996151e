"""The rules of one run's actions, as a verifier checks them: nothing is dispatched without an ALLOW that stands, nobody
allows what was not asked, every dispatch has one ending (EVIDENCE 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from app.domain.approval import binding_of
from app.domain.canonical import canonical_bytes, strict_loads, unb64
from app.domain.errors import InvalidInput
from app.domain.keycheck import check_answer
from app.domain.logreport import Findings
from app.domain.payloads import (
    ApprovalDecided,
    ApprovalRequested,
    Dispatched,
    GrantGiven,
    IntentRecorded,
    McpForwarded,
    OutcomeRecorded,
    RunClosed,
    VerdictGiven,
)
from app.domain.reasons import Reason
from app.domain.receipt import Receipt
from app.domain.standing import Standing
from app.domain.times import ms_of

MAX_STATEMENT: Final = 16_384
# An answer counts from when it was given (the statement's `at`); it may wait this long for the disk.
ANSWER_GRACE_MS: Final = 60_000


@dataclass(slots=True)
class Question:
    """An approval request and the answers to it."""

    id: str
    receipt: Receipt
    asked: ApprovalRequested
    action: Deed
    answers: dict[str, str] = field(default_factory=dict)  # approver -> approve | deny
    keys: set[str] = field(default_factory=set)  # that signed them


@dataclass(slots=True)
class Release:
    """One dispatch; `verdict` is the receipt that it ran under."""

    id: str
    verdict: str
    ended: bool = False
    forwarded: bool = False


@dataclass(slots=True)
class Deed:
    """One action as far as it got."""

    id: str
    intent: str
    said: IntentRecorded
    args: str  # commitment of the arguments that may run: an answer may put others in their place
    actor: tuple[str, str]
    verdict: str = ""
    judged: VerdictGiven | None = None
    asked: Question | None = None
    releases: list[Release] = field(default_factory=list)
    ended: bool = False


Named: TypeAlias = tuple[str, Deed]
Rule: TypeAlias = Callable[["RunActions", Receipt, Any, Deed], None]


@dataclass(slots=True)
class RunActions:
    """All actions of one open run. Dropped when the run closes: nothing can refer to them then."""

    findings: Findings
    policies: set[str]
    run: str = ""
    blueprint: str = ""
    opened_by: str = ""
    standing: Standing = field(default_factory=Standing)  # as of the receipt before the one that is applied
    deeds: dict[str, Deed] = field(default_factory=dict)
    known: dict[str, Named] = field(default_factory=dict)  # receipt id -> its kind and action
    questions: dict[str, Question] = field(default_factory=dict)  # by approval id
    challenges: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    spent_micro: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    tool_calls: int = 0

    def apply(self, receipt: Receipt) -> None:
        """Check one receipt of the run against what came before it, then take it in."""
        p = receipt.payload
        if isinstance(p, IntentRecorded):
            self._intent(receipt, p)
            return
        rule = _RULES.get(type(p))
        if rule is None:
            return
        found = self.known.get(receipt.refs.get("intent", "") or receipt.refs.get("request", ""))
        if found is None:
            self._bad("E_ACT_NO_INTENT", receipt, f"{receipt.kind} without an intent of its run")
            return
        deed = found[1]
        if getattr(p, "action_id", deed.id) != deed.id:
            self._bad("E_ACT_NO_INTENT", receipt, "the action is not the one of the intent that is referred to")
        if not isinstance(p, (McpForwarded, GrantGiven)):
            self.known[receipt.id] = receipt.kind, deed
        rule(self, receipt, p, deed)

    # (8a) one intent per action and per key; its arguments are what everything later is bound to

    def _intent(self, receipt: Receipt, p: IntentRecorded) -> None:
        if p.action_id in self.deeds:
            self._bad("E_ACT_DUP_INTENT", receipt, "a second intent with the id of another action")
        if p.idempotency_key in self.keys:
            self.findings.add("E_ACT_DUP_INTENT", receipt.seq, "a second intent with the same idempotency key")
        self.keys.add(p.idempotency_key)
        deed = Deed(p.action_id, receipt.id, p, p.args.digest, (receipt.actor.type, receipt.actor.id))
        self.deeds[p.action_id] = deed
        self.known[receipt.id] = receipt.kind, deed
        if p.door in ("tool", "mcp"):
            self.tool_calls += 1

    # (8b) verdicts follow each other by `supersedes`; only a question can still be decided

    def _verdict(self, receipt: Receipt, p: VerdictGiven, deed: Deed) -> None:
        if receipt.refs.get("supersedes", "") != deed.verdict:
            self._bad("E_ACT_VERDICT_DIGEST", receipt, "it does not take the place of the verdict that stands")
        elif deed.judged is not None and deed.judged.decision != "ESCALATE":
            self._bad("E_ACT_VERDICT_DIGEST", receipt, "the action was decided already")
        if deed.ended or deed.releases:
            self._bad("E_ACT_VERDICT_DIGEST", receipt, "a verdict after the action was dispatched or ended")
        if p.policy_digest not in self.policies:
            self._bad("E_POLICY_DIGEST", receipt, "the policy is neither the run's nor one that was announced")
        if deed.judged is not None and p.decision == "ALLOW":
            self._released_by(receipt, deed)
        if p.grant is not None or p.reason_code == Reason.GRANTED.value:
            self._granted(receipt, p, deed)
        deed.verdict, deed.judged = receipt.id, p

    def _released_by(self, receipt: Receipt, deed: Deed) -> None:
        """A question became an ALLOW: enough people must have said so, about this very question."""
        question = deed.asked
        if question is None or receipt.refs.get("request") != question.receipt.id:
            self._bad("E_APPR_BINDING", receipt, "allowed after a question, and not by an answer to it")
            return
        answers = list(question.answers.values())
        if "deny" in answers or answers.count("approve") < max(1, question.asked.quorum):
            self._bad("E_APPR_QUORUM", receipt, "allowed without the answers that the question asked for")

    # (8e) a grant releases only what it was given for, while it stands

    def _granted(self, receipt: Receipt, p: VerdictGiven, deed: Deed) -> None:
        grant = self.standing.grants.get(p.grant or "")
        if grant is None or p.decision != "ALLOW":
            self._bad("E_GRANT_UNKNOWN", receipt, "allowed by a grant that nobody gave")
            return
        if not grant.left or (p.grant_use or 0) != grant.used + 1:
            self._bad("E_GRANT_SPENT", receipt, "the grant was revoked, or this is not its next use")
        if ms_of(receipt.ts) > ms_of(grant.expires):
            self._bad("E_GRANT_SPENT", receipt, "the grant had expired")
        elsewhere = grant.run != self.run if grant.scope == "run" else grant.blueprint != self.blueprint
        if elsewhere or grant.tool != deed.said.tool or grant.rule not in p.rule_ids:
            self._bad("E_GRANT_SCOPE", receipt, "the grant was given for another run, tool or rule")

    def _given(self, receipt: Receipt, p: GrantGiven, deed: Deed) -> None:
        question = deed.asked
        rules = deed.judged.rule_ids if deed.judged is not None else ()
        if question is None or "approve" not in question.answers.values() or p.tool != deed.said.tool:
            self._bad("E_GRANT_SCOPE", receipt, "a grant without an answer that allowed such a call")
        elif p.rule not in rules or p.by not in question.answers:
            self._bad("E_GRANT_SCOPE", receipt, "a grant for another rule, or by somebody who did not answer")

    # (9) approvals: bound to the question, in time, by a person, once

    def _request(self, receipt: Receipt, p: ApprovalRequested, deed: Deed) -> None:
        if receipt.refs.get("verdict") != deed.verdict or deed.judged is None or deed.judged.decision != "ESCALATE":
            self._bad("E_APPR_BINDING", receipt, "a question without the verdict that asks it")
        again = deed.asked is not None and deed.asked.receipt.refs.get("verdict") == deed.verdict
        if p.challenge in self.challenges or p.approval_id in self.questions or again:
            self._bad("E_APPR_REPLAY", receipt, "the question or its challenge was used before")
        if p.binding is not None and p.binding != self._binding(p, deed):
            self._bad("E_APPR_BINDING", receipt, "what the question is bound to is not what was judged")
        self.challenges.add(p.challenge)
        deed.asked = Question(p.approval_id, receipt, p, deed)
        self.questions[p.approval_id] = deed.asked

    def _binding(self, p: ApprovalRequested, deed: Deed) -> str:
        return binding_of(
            run=self.run,
            action=deed.id,
            tool=deed.said.tool,
            args=deed.said.args.digest,
            schema=deed.said.schema or "",
            policy=deed.judged.policy_digest if deed.judged is not None else "",
            principal=deed.said.requested_by,
            files=p.files or (),
            expires=p.expires,
        )

    def _decision(self, receipt: Receipt, p: ApprovalDecided, deed: Deed) -> None:
        question = deed.asked
        if question is None or question.id != p.approval_id or receipt.refs.get("request") != question.receipt.id:
            self._bad("E_APPR_BINDING", receipt, "an answer to another question than the one that it names")
            return
        if p.approver in question.answers or deed.judged is None or deed.judged.decision != "ESCALATE":
            self._bad("E_APPR_REPLAY", receipt, "the question has its answer")
        if len(question.answers) >= max(1, question.asked.quorum):
            self._bad("E_APPR_REPLAY", receipt, "the question had all its answers")
        question.answers[p.approver] = p.decision
        if p.edited is not None and p.decision == "approve":
            deed.args = p.edited.digest
        self._person(receipt, p, deed, question)
        self._statement(receipt, p, question)
        if p.seen.size != question.receipt.seq:
            self.findings.add(
                "W_APPR_SEEN_UNCHECKED", receipt.seq, "another state of the log was seen than the question's"
            )
        elif p.seen.root != question.receipt.root:
            self._bad("E_APPR_BINDING", receipt, "the approver saw another log than this one")

    def _person(self, receipt: Receipt, p: ApprovalDecided, deed: Deed, question: Question) -> None:
        actor = receipt.actor
        if actor.type != "human" or (actor.type, actor.id) == deed.actor:
            self._bad("E_APPR_SELF", receipt, "answered by the one who asked, or by no person")
        if question.asked.not_requester and p.decision == "approve" and p.approver == self.opened_by:
            self._bad("E_APPR_SELF", receipt, "allowed by the one who started the run")
        if actor.id != p.approver:
            self._bad("E_APPR_BINDING", receipt, "the approver is not the one who acted")
        key = check_answer(self.findings, receipt, p, question.asked, self.standing)
        if key and key in question.keys:
            self._bad("E_APPR_QUORUM", receipt, "one key answered twice")
        question.keys.add(key)

    def _statement(self, receipt: Receipt, p: ApprovalDecided, question: Question) -> None:
        said = _decoded(p.statement)
        judged = question.action.judged
        meant: dict[str, Any] = {
            "approval": p.approval_id,
            "decision": p.decision,
            "args": question.action.said.args.digest,
            "shown": question.asked.shown.digest,
            "challenge": question.asked.challenge,
            "policy": judged.policy_digest if judged is not None else "",
            "run": receipt.run,
            "by": p.approver,
        }
        if question.asked.binding is not None:
            meant["binding"] = question.asked.binding
            meant["edited"] = p.edited.digest if p.edited is not None else ""
            meant["scope"] = p.scope or "once"
            meant["seen_root"] = p.seen.root  # who signs an answer signs the whole log before its question with it
        wrong = sorted(name for name, value in meant.items() if said.get(name) != value)
        if wrong:
            self._bad("E_APPR_BINDING", receipt, f"the statement says another {', '.join(wrong)}")
        at, recorded = _time(said.get("at"), receipt.ts), ms_of(receipt.ts)
        # A timelock holds an allowance back, never a denial.
        opened = ms_of(question.asked.not_before) if p.decision == "approve" else 0
        until = ms_of(question.asked.expires)
        if at > until or recorded > until + ANSWER_GRACE_MS:
            self._bad("E_APPR_EXPIRED", receipt, "answered after the question had expired")
        if at < opened or recorded < opened:
            self._bad("E_APPR_TIMELOCK", receipt, "answered before the question could be answered")

    # (8c) dispatch: only under an ALLOW that stands and has not expired, with the very arguments that were judged

    def _dispatch(self, receipt: Receipt, p: Dispatched, deed: Deed) -> None:
        if deed.judged is None:
            self._bad("E_ACT_NO_VERDICT", receipt, "dispatched without a verdict")
        elif deed.judged.decision != "ALLOW":
            self._bad("E_ACT_DENIED_DISPATCHED", receipt, f"dispatched under {deed.judged.decision}")
        elif ms_of(receipt.ts) > ms_of(deed.judged.expires):
            self._bad("E_ACT_EXPIRED", receipt, "dispatched after the verdict had expired")
        if receipt.refs.get("verdict") != deed.verdict:
            self._bad("E_ACT_VERDICT_DIGEST", receipt, "dispatched under a verdict that does not stand")
        if p.args_digest != deed.args:
            self._bad("E_ACT_ARGS_MISMATCH", receipt, "dispatched with other arguments than were judged")
        if self.standing.frozen(self.run, self.blueprint) is not None:
            self._bad("E_FROZEN", receipt, "dispatched while it was frozen")
        if p.attempt != len(deed.releases) + 1 or (deed.ended and not deed.releases):
            self._bad("E_ACT_DUP_DISPATCH", receipt, "not the next attempt of this action")
        if deed.releases and not deed.releases[-1].ended:
            self._bad("E_ACT_DUP_DISPATCH", receipt, "dispatched again before the last attempt had ended")
        self._approved(receipt, deed)
        deed.releases.append(Release(receipt.id, receipt.refs.get("verdict", "")))
        deed.ended = False

    def _approved(self, receipt: Receipt, deed: Deed) -> None:
        approval = receipt.refs.get("approval", "")
        if (deed.asked is None) != (not approval):
            self._bad("E_APPR_BINDING", receipt, "a question was asked and its answer is not named, or the reverse")

    def _forwarded(self, receipt: Receipt, p: McpForwarded, deed: Deed) -> None:
        release = self._release(receipt.refs.get("dispatch", ""), deed)
        if release is None or release.ended:
            self._bad("E_ACT_OUTCOME_BEFORE_DISPATCH", receipt, "forwarded without an open dispatch")
        elif release.forwarded:
            self._bad("E_ACT_DUP_DISPATCH", receipt, "forwarded a second time")
        else:
            release.forwarded = True

    # (8d) outcome: one for each dispatch, under the verdict that it ran under (Check B)

    def _outcome(self, receipt: Receipt, p: OutcomeRecorded, deed: Deed) -> None:
        if "dispatch" in receipt.refs:
            self._ending(receipt, deed)
        else:
            self._refusal(receipt, p, deed)
        deed.ended = True
        if p.status == "unknown":
            self.findings.add("W_ACT_UNKNOWN_OUTCOME", receipt.seq, f"nobody knows whether {deed.id} happened")
        if p.usage is not None:
            self.spent_micro += p.usage.cost_micro
            self.input_tokens += p.usage.input_tokens + p.usage.cache_read_tokens + p.usage.cache_write_tokens
            self.output_tokens += p.usage.output_tokens

    def _ending(self, receipt: Receipt, deed: Deed) -> None:
        release = self._release(receipt.refs["dispatch"], deed)
        if release is None:
            self._bad("E_ACT_OUTCOME_BEFORE_DISPATCH", receipt, "the outcome of something that was not dispatched")
            return
        if release.ended:
            self._bad("E_ACT_DUP_OUTCOME", receipt, "a second outcome of one dispatch")
        if receipt.refs.get("verdict") != release.verdict:
            self._bad("E_ACT_VERDICT_DIGEST", receipt, "it ran under another verdict than it says")
        release.ended = True

    def _refusal(self, receipt: Receipt, p: OutcomeRecorded, deed: Deed) -> None:
        if p.status != "refused" or deed.releases or deed.judged is None or deed.judged.decision != "DENY":
            self._bad("E_ACT_OUTCOME_BEFORE_DISPATCH", receipt, "only what was denied ends without a dispatch")
        if deed.ended:
            self._bad("E_ACT_DUP_OUTCOME", receipt, "a second outcome of one action")
        if receipt.refs.get("verdict") != deed.verdict:
            self._bad("E_ACT_VERDICT_DIGEST", receipt, "it ended under another verdict than it says")

    def _release(self, dispatch: str, deed: Deed) -> Release | None:
        return next((release for release in reversed(deed.releases) if release.id == dispatch), None)

    # (10) at the close: everything has ended, and the totals are what the receipts add up to

    def close(self, receipt: Receipt, p: RunClosed) -> None:
        """Check a run's close against its actions."""
        for deed in self.deeds.values():
            if deed.judged is None or deed.judged.decision == "ESCALATE":
                self._bad("E_ACT_NO_VERDICT", receipt, f"{deed.id} was never decided")
            if any(not release.ended for release in deed.releases):
                self._bad("E_ACT_NO_OUTCOME", receipt, f"{deed.id} was dispatched and has no outcome")
            if not deed.releases and deed.judged is not None and deed.judged.decision == "ALLOW":
                self.findings.add("W_ACT_NOT_DISPATCHED", receipt.seq, f"{deed.id} was allowed and never dispatched")
        if p.count != receipt.run_seq:
            self._bad("E_CLOSE_COUNT", receipt, f"it counts {p.count} receipts before it; there are {receipt.run_seq}")
        said = (p.spent_micro, p.input_tokens, p.output_tokens, p.tool_calls)
        if said != (self.spent_micro, self.input_tokens, self.output_tokens, self.tool_calls):
            self._bad("E_CLOSE_COUNT", receipt, "its totals are not what the outcomes add up to")

    def open_deeds(self) -> int:
        """Dispatches that have no outcome yet."""
        return sum(not release.ended for deed in self.deeds.values() for release in deed.releases)

    def _bad(self, code: str, receipt: Receipt, message: str) -> None:
        self.findings.add(code, receipt.seq, message)


def _decoded(statement: str) -> dict[str, Any]:
    """What was agreed to, or nothing when it is not canonical JSON in canonical base64."""
    try:
        data = unb64(statement)
        said = strict_loads(data, max_bytes=MAX_STATEMENT, max_depth=8)
        return said if type(said) is dict and canonical_bytes(said) == data else {}
    except InvalidInput:
        return {}


def _time(value: object, otherwise: str) -> int:
    try:
        return ms_of(value if isinstance(value, str) else otherwise)
    except InvalidInput:
        return ms_of(otherwise)


_RULES: Final[dict[type, Rule]] = {
    VerdictGiven: RunActions._verdict,
    ApprovalRequested: RunActions._request,
    ApprovalDecided: RunActions._decision,
    Dispatched: RunActions._dispatch,
    GrantGiven: RunActions._given,
    McpForwarded: RunActions._forwarded,
    OutcomeRecorded: RunActions._outcome,
}

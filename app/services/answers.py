"""The receipts of an answer: what a person agreed to, the verdict that takes the question's place, and the release, the
refusal or the grant that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.domain.canonical import b64, canonical_bytes, strict_loads
from app.domain.content import JSON, Content, FileMark, Seen
from app.domain.errors import InvalidInput, LedgerUnavailable
from app.domain.events import Draft, Event, Local
from app.domain.expressions import BadExpression
from app.domain.ids import short_id
from app.domain.payloads import ApprovalDecided, ApprovalRequested, GrantGiven, IntentRecorded, VerdictGiven
from app.domain.policy_grants import compile_pattern, matches_pattern
from app.domain.reasons import Reason
from app.domain.receipt import POLICY, Actor, parse
from app.domain.run import Action, Run
from app.domain.times import ms_of, text_of
from app.domain.verdict import WORKSPACE, AgentFacts, Decision, EffectClass, Grade, Verdict
from app.ports import Clock
from app.services.asks import MAX_ARGS, Ask, args_content
from app.services.gate import EVALUATOR, VERDICT_LIFE_MS, Gate
from app.services.replies import MAX_LASTS_S, MAX_USES, GrantTerms, Reply


class Refused(InvalidInput):
    """The law does not take what a person put in place of the call; `code` is its reason code."""

    status = 422

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = reason


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the receipts behind it."""

    action: Action
    run: Run
    request: Event
    verdict: Event
    intent: Event
    line: bytes  # of the request

    @property
    def asked(self) -> ApprovalRequested:
        """What was asked. Raises LedgerUnavailable where the log holds something else there."""
        if not isinstance(self.request.payload, ApprovalRequested):
            raise LedgerUnavailable("the question cannot be read back from the log")
        return self.request.payload

    @property
    def judged(self) -> VerdictGiven:
        """The verdict that asked."""
        if not isinstance(self.verdict.payload, VerdictGiven):
            raise LedgerUnavailable("the verdict cannot be read back from the log")
        return self.verdict.payload

    @property
    def said(self) -> IntentRecorded:
        """The intent that is asked about."""
        if not isinstance(self.intent.payload, IntentRecorded):
            raise LedgerUnavailable("the intent cannot be read back from the log")
        return self.intent.payload

    @property
    def inputs(self) -> Content:
        """What the evaluator had read."""
        return self.verdict.contents.get("inputs") or Content(b"{}", JSON)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An answer that was checked: the sealed arguments in place of the asked ones, and what the law says of them."""

    edited: Content | None = None
    decision: Decision | None = None


class Answers:
    """Makes receipts of answers; records nothing itself."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self._gate, self._clock = gate, clock

    async def prepare(self, question: Question, reply: Reply) -> Prepared:
        """Check an edit or a grant against the law. Raises Refused, InvalidInput."""
        if reply.grant is not None:
            self._check_grant(question, reply.grant)
        if reply.edited is None:
            return Prepared()
        content = args_content(reply.edited)
        if content.media != JSON or content.truncated_from:
            raise InvalidInput("the edited arguments are not JSON that can be recorded, or are too large")
        decision = self._gate.judge.reconsider(question.run, _ask(question, reply.edited), self._gate.standing)
        if decision.verdict is Verdict.DENY:
            raise Refused(decision.reason.value, f"the edited call is refused: {decision.message}")
        if decision.approval is not None and not decision.approval.plain:
            raise Refused(decision.reason.value, "the edited call asks for more than one plain answer; let it be asked")
        return Prepared(content.sealed(self._clock.entropy(32)), decision)

    def _check_grant(self, question: Question, terms: GrantTerms) -> None:
        if not 1 <= terms.uses <= MAX_USES or not 1 <= terms.lasts_s <= MAX_LASTS_S:
            raise InvalidInput(f"a grant has 1 to {MAX_USES} uses and lasts at most seven days")
        try:
            pattern = compile_pattern(terms.pattern)
        except BadExpression as error:
            raise InvalidInput(f"the pattern, column {error.column}: {error.reason}") from None
        args = strict_loads(question.intent.content("args"), max_bytes=MAX_ARGS)
        request = self._gate.judge.seen_by_rules(question.run, _ask(question, args), self._gate.standing)
        if not matches_pattern(pattern, request, EffectClass(question.said.effect_class)):
            raise InvalidInput("the pattern is not true of this very call; it would not have covered it")

    def statement(self, question: Question, reply: Reply, prepared: Prepared, by: str, source: str) -> bytes:
        """What the person agrees to, as canonical JSON."""
        signed = reply.proof.type != "none"
        return canonical_bytes(
            {
                "approval": question.action.approval,
                "decision": "approve" if reply.answer == "allow" else "deny",
                "args": question.action.args,
                "edited": prepared.edited.digest if prepared.edited is not None else "",
                "scope": reply.grant.scope if reply.grant is not None else "once",
                "binding": question.action.binding,
                "seen_root": parse(question.line).root,
                "seen_size": question.request.seq,
                "shown": question.asked.shown.digest,
                "challenge": question.asked.challenge,
                "policy": question.judged.policy_digest,
                "run": question.run.id,
                "by": by,
                "from": "" if signed else source,
                "reason": reply.reason,
                "at": reply.at or text_of(self._clock.now_ms()),
            }
        )

    def drafts(self, question: Question, reply: Reply, prepared: Prepared, said: bytes, by: str) -> list[Draft]:
        """The receipts of one answer, in order."""
        action = question.action
        payload = self._decided(question, reply, prepared, said, by)
        decided = Draft(payload, Actor("human", by, "client"), {"request": action.request})
        if reply.answer == "allow" and len(action.approvals) + 1 < action.quorum:
            return [decided]
        return [decided, *self._ending(question, reply, prepared, by)]

    def _decided(self, question: Question, reply: Reply, prepared: Prepared, said: bytes, by: str) -> ApprovalDecided:
        return ApprovalDecided(
            approval_id=question.action.approval,
            decision="approve" if reply.answer == "allow" else "deny",
            approver=by,
            statement=b64(said),
            proof=reply.proof,
            # The state of the log that the question itself commits to: what its approver had before their eyes.
            seen=Seen(question.request.seq, parse(question.line).root),
            reason=Content.text(reply.reason) if reply.reason else None,
            edited=prepared.edited,
            scope=reply.grant.scope if reply.grant is not None else "once",
        )

    def _ending(self, question: Question, reply: Reply, prepared: Prepared, by: str) -> list[Draft]:
        action = question.action
        refs: dict[str, str | Local] = {"intent": action.intent, "supersedes": action.verdict}
        refs |= {"request": action.request, "approval": Local(0)}
        ending: dict[str, str | Local] = {"intent": action.intent, "verdict": Local(1)}
        if reply.answer == "deny":
            words = f"{by} denied it" + (f": {reply.reason}" if reply.reason else ".")
            verdict = self.verdict(action, "DENY", Reason.APPROVAL_DENIED, words, question.judged, question.inputs)
            return [Draft(verdict, POLICY, refs), Draft(self._gate.refused(action.id), refs=ending)]
        args = prepared.edited.digest if prepared.edited is not None else action.args
        executor = "gateway" if action.door in ("mcp", "egress") else "runner"
        release = self._gate.dispatch(action.id, args, executor, binding=action.binding)
        drafts = [
            Draft(self._allowed(question, reply, prepared, by), POLICY, refs),
            Draft(release, refs={**ending, "approval": Local(0)}),
        ]
        if reply.grant is not None:
            drafts.append(
                Draft(
                    self._grant(question, reply.grant, by),
                    Actor("human", by, "client"),
                    {"request": action.request, "approval": Local(0)},
                )
            )
        return drafts

    def _allowed(self, question: Question, reply: Reply, prepared: Prepared, by: str) -> VerdictGiven:
        others = [name for name in question.action.approvals if name != by]
        words = f"{' and '.join([*others, by])} allowed it" + (", with changes." if prepared.edited else ".")
        words += f" {reply.reason}" if reply.reason else ""
        judged, inputs = question.judged, question.inputs
        if prepared.decision is not None:
            decision = prepared.decision
            judged = replace(
                judged,
                rule_ids=decision.rule_ids,
                policy_digest=decision.policy_digest,
                obligations=decision.obligations,
                risk=decision.risk.value,
            )
            inputs = Content.of(canonical_bytes(decision.inputs), JSON, MAX_ARGS)
        return self.verdict(question.action, "ALLOW", Reason.APPROVED, words, judged, inputs)

    def _grant(self, question: Question, terms: GrantTerms, by: str) -> GrantGiven:
        return GrantGiven(
            grant_id=short_id("grt", self._clock.entropy(10)),
            scope=terms.scope,
            blueprint=question.run.blueprint,
            workspace=self._gate.judge.seed_of(question.run),
            tool=question.action.tool,
            rule=question.action.rule,
            pattern=terms.pattern,
            uses=terms.uses,
            expires=text_of(self._clock.now_ms() + terms.lasts_s * 1000),
            by=by,
        )

    def verdict(
        self,
        action: Action,
        decision: Literal["ALLOW", "DENY", "ESCALATE"],
        reason: Reason,
        message: str,
        judged: VerdictGiven,
        inputs: Content,
    ) -> VerdictGiven:
        """The verdict that takes the ESCALATE's place: the same policy and inputs, decided by a person or a clock."""
        return VerdictGiven(
            action_id=action.id,
            decision=decision,
            reason_code=reason.value,
            rule_ids=judged.rule_ids,
            policy_digest=judged.policy_digest,
            evaluator=EVALUATOR,
            inputs=inputs,
            expires=text_of(self._clock.now_ms() + VERDICT_LIFE_MS),
            obligations=judged.obligations,
            risk=judged.risk,
            message=message[:2_000],
        )

    def asked_anew(
        self, question: Question, files: Sequence[FileMark], message: str
    ) -> tuple[VerdictGiven, ApprovalRequested]:
        """The same question about files that are not what they were: with an id, a challenge and a time of its own."""
        asked, now = question.asked, self._clock.now_ms()
        opened = ms_of(question.request.ts)
        delay, life = ms_of(asked.not_before) - opened, ms_of(asked.expires) - opened
        fresh = replace(
            asked,
            approval_id=short_id("apr", self._clock.entropy(10)),
            challenge=b64(self._clock.entropy(32)),
            not_before=text_of(now + max(0, delay)),
            expires=text_of(now + life),
            files=tuple(files),
        )
        verdict = self.verdict(
            question.action, "ESCALATE", Reason.INPUT_CHANGED, message, question.judged, question.inputs
        )
        return replace(verdict, expires=fresh.expires), fresh


def _ask(question: Question, args: Any) -> Ask:
    """The intent of a question with other arguments, as far as the log tells how its door asked it."""
    said = question.said
    path = tuple(said.requested_by.split("/"))
    inputs = strict_loads(question.inputs.data or b"{}", max_bytes=2 * MAX_ARGS)
    cwd = inputs.get("cwd") if isinstance(inputs, dict) else None
    return Ask(
        run=question.run.id,
        door=said.door,
        tool=said.tool,
        args=args,
        key=said.idempotency_key,
        executor="runner",
        grade=Grade(said.grade),
        agent=AgentFacts(question.intent.actor.id, path[-1], len(path) - 1, path),
        cwd=cwd if isinstance(cwd, str) else WORKSPACE,
    )

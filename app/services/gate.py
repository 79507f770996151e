"""The one gate: intent, verdict, dispatch, outcome. Whatever an agent wants to do passes `perform`, and nothing is
released before its dispatch is durable. Every path that is not an ALLOW is a refusal."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from app.domain.canonical import b64, canonical_bytes
from app.domain.content import JSON, TEXT, Content, Usage
from app.domain.errors import AlreadyClaimed, HelmError, InvalidInput, LedgerUnavailable, NotFound, RunEnded
from app.domain.events import Draft, Local
from app.domain.ids import short_id
from app.domain.intent import describe
from app.domain.payloads import ApprovalRequested, Dispatched, IntentRecorded, OutcomeRecorded, VerdictGiven
from app.domain.policy import Bundle, decide
from app.domain.reasons import Reason
from app.domain.receipt import POLICY, Actor
from app.domain.run import Action, Run
from app.domain.times import text_of
from app.domain.verdict import AgentFacts, BudgetFacts, Decision, EffectClass, Grade, Request, Risk, RunFacts, Verdict
from app.ports import Clock, Library
from app.services.ledger import Ledger

MAX_ARGS: Final = 1_048_576
MAX_RESULT: Final = 262_144
MAX_OPEN: Final = 500
VERDICT_LIFE_MS: Final = 86_400_000
EVALUATOR: Final = "helm-gate"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason to deny that was found before the policy was asked (budget, price, reconciliation)."""

    reason: Reason
    message: str = ""


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


class Gate:
    """Judges intents, records them, and waits with those who must wait for a person."""

    def __init__(self, ledger: Ledger, library: Library, clock: Clock) -> None:
        self._ledger, self._library, self._clock = ledger, library, clock

    async def perform(self, ask: Ask) -> Answer:
        """Judge an intent and return when it may happen or not; while a person is asked this waits, for days if needed.

        Never raises for a refusal: LEDGER_UNAVAILABLE, RUN_ENDED and policy denials are all answers.
        """
        try:
            action = await self._judge(ask)
            if action is None:
                # The call is known: its other hook was faster, or it comes again after a restart. There is one intent.
                action = await self._known(ask)
                if not await self._same_args(action, ask):
                    return _refused(Reason.INPUT_CHANGED, "the same call came back with other arguments")
            if action.state == "waiting":
                action = await self.settled(action)
            return _answer(action)
        except RunEnded:
            return _refused(Reason.RUN_ENDED, "the run has ended")
        except LedgerUnavailable as error:
            return _refused(Reason.LEDGER_UNAVAILABLE, error.message)
        except InvalidInput as error:
            # What has no place in a receipt cannot be recorded, and so does not happen.
            return _refused(Reason.SCHEMA_VIOLATION, error.message)

    async def settled(self, action: Action) -> Action:
        """The action once nobody is asked about it any more."""
        async for page in self._ledger.follow(action.request_seq or action.opened_seq, action.run):
            for event in page:
                if isinstance(event.payload, VerdictGiven) and event.payload.action_id == action.id:
                    found = await self._ledger.read.action(id=action.id)
                    if found is not None and found.state != "waiting":
                        return found
        raise LedgerUnavailable("the log has ended")

    async def outcome(
        self,
        run: str,
        key: str,
        status: Literal["executed", "failed", "refused", "timeout", "cancelled", "unknown"],
        *,
        result: Content | None = None,
        error_class: str = "",
        usage: Usage | None = None,
        provider_request_id: str = "",
        recovered: bool = False,
        by: Actor | None = None,
    ) -> None:
        """Record how a dispatched action ended. A repeat, or one for an ended run, changes nothing.

        Raises NotFound for an action that was never dispatched, LedgerUnavailable.
        """
        action = await self._ledger.read.action(run=run, key=key)
        if action is None or not action.dispatch:
            raise NotFound("no released call of this id is known in this run")
        payload = OutcomeRecorded(
            action_id=action.id,
            status=status,
            started=action.opened_ts,
            ended=text_of(self._clock.now_ms()),
            recovered=recovered,
            result=result,
            error_class=error_class or None,
            usage=usage,
            provider_request_id=provider_request_id or None,
        )
        refs = {"intent": action.intent, "verdict": action.verdict, "dispatch": action.dispatch}
        try:
            await self._ledger.record(run, Draft(payload, by or Actor("agent", action.agent or "lead", "agent"), refs))
        except (AlreadyClaimed, RunEnded):
            return

    @staticmethod
    def held(action: Action) -> Usage | None:
        """What an action with a hold is charged when nobody knows what it used: all of it."""
        return Usage(0, 0, 0, 0, action.hold_micro) if action.hold_micro else None

    # --- judging -----------------------------------------------------------------------------------------------------

    async def _judge(self, ask: Ask) -> Action | None:
        """Judge and record a new intent; None when this call was recorded before."""
        run = await self._ledger.run(ask.run)
        if run is None or not run.live:
            raise RunEnded("the run has ended")
        if any(action.key == ask.key for action in run.actions.values()):
            return None
        decision = self._decide(run, ask)
        try:
            return await self._ledger.record_action(ask.run, *self._drafts(run, ask, decision))
        except AlreadyClaimed:
            return None

    async def _known(self, ask: Ask) -> Action:
        found = await self._ledger.read.action(run=ask.run, key=ask.key)
        if found is None:
            raise LedgerUnavailable("the log answered twice in different ways")
        return found

    def _decide(self, run: Run, ask: Ask) -> Decision:
        bundle = self._library.bundle(run.policy)
        decision = decide(bundle, self._request(run, ask))
        refusal = ask.refusal
        if refusal is None and len(run.actions) >= MAX_OPEN:
            refusal = Refusal(Reason.TOO_MANY_OPEN, f"{MAX_OPEN} calls of this run have no outcome yet")
        if refusal is None or decision.verdict is Verdict.DENY:
            return decision
        return _overruled(decision, refusal, bundle)

    def _request(self, run: Run, ask: Ask) -> Request:
        return Request(
            tool=ask.tool,
            args=ask.args,
            run=RunFacts(run.id, run.no, run.title),
            now=text_of(self._clock.now_ms()),
            agent=ask.agent,
            blueprint={"name": run.blueprint},
            budget=BudgetFacts(run.spent_micro, run.held_micro, run.budget_micro),
            effect_class=ask.effect_class,
            host=ask.host,
            port=ask.port,
            egress_listed=ask.egress_listed,
            grade=ask.grade,
            cwd=ask.cwd,
        )

    def _drafts(self, run: Run, ask: Ask, decision: Decision) -> list[Draft]:
        action_id = short_id("act", self._clock.entropy(10))
        agent = Actor("agent", ask.agent.id or "lead", "agent")
        intent = self._intent(action_id, ask, decision)
        verdict = self._verdict(action_id, decision)
        drafts = [Draft(intent, agent), Draft(verdict, POLICY, {"intent": Local(0)})]
        refs = {"intent": Local(0), "verdict": Local(1)}
        if decision.verdict is Verdict.ALLOW:
            drafts.append(Draft(self.dispatch(action_id, intent.args.digest, ask.executor, ask.hold_micro), refs=refs))
        elif decision.verdict is Verdict.ESCALATE:
            drafts.append(Draft(self._question(action_id, ask, intent, decision), refs=refs))
        else:
            drafts.append(Draft(self.refused(action_id), refs=refs))
        return drafts

    def _intent(self, action_id: str, ask: Ask, decision: Decision) -> IntentRecorded:
        return IntentRecorded(
            action_id=action_id,
            tool=ask.tool[:200],
            effect_class=decision.effect_class.value if decision.effect_class is not None else "unknown",
            args=args_content(ask.args).sealed(self._clock.entropy(32)),
            idempotency_key=ask.key,
            target=describe(ask.tool, ask.args).target,
            requested_by="/".join(ask.agent.path) or ask.agent.id or "lead",
            door=ask.door,
            grade=ask.grade.value,
        )

    def _verdict(self, action_id: str, decision: Decision) -> VerdictGiven:
        life = decision.approval.timeout_s * 1000 if decision.approval else VERDICT_LIFE_MS
        return VerdictGiven(
            action_id=action_id,
            decision=decision.verdict.value,
            reason_code=decision.reason.value,
            rule_ids=decision.rule_ids,
            policy_digest=decision.policy_digest,
            evaluator=decision.evaluator,
            inputs=Content.of(canonical_bytes(decision.inputs), JSON, MAX_ARGS),
            expires=text_of(self._clock.now_ms() + life),
            obligations=decision.obligations,
            risk=decision.risk.value,
            message=decision.message,
        )

    def _question(self, action_id: str, ask: Ask, intent: IntentRecorded, decision: Decision) -> ApprovalRequested:
        now = self._clock.now_ms()
        timeout_s = decision.approval.timeout_s if decision.approval else 0
        title = describe(ask.tool, ask.args).title
        shown = {
            "title": title,
            "tool": intent.tool,
            "target": intent.target,
            "agent": intent.requested_by,
            "args": intent.args.digest,
            "rule": list(decision.rule_ids),
            "message": decision.message,
            "risk": decision.risk.value,
            "grade": intent.grade,
        }
        return ApprovalRequested(
            approval_id=short_id("apr", self._clock.entropy(10)),
            action_id=action_id,
            challenge=b64(self._clock.entropy(32)),
            title=title,
            shown=Content.of(canonical_bytes(shown), JSON),
            quorum=1,
            not_before=text_of(now),
            expires=text_of(now + timeout_s * 1000),
            risk=decision.risk.value,
        )

    def dispatch(self, action_id: str, args_digest: str, executor: str, hold_micro: int = 0) -> Dispatched:
        """The release of an effect: single use, bound to the arguments that were judged."""
        return Dispatched(
            action_id=action_id,
            attempt=1,
            executor=executor,
            args_digest=args_digest,
            deadline=text_of(self._clock.now_ms() + VERDICT_LIFE_MS),
            token=short_id("tok", self._clock.entropy(10)),
            hold_micro=hold_micro,
        )

    def refused(self, action_id: str) -> OutcomeRecorded:
        """The ending of what was denied: it did not happen."""
        now = text_of(self._clock.now_ms())
        return OutcomeRecorded(action_id=action_id, status="refused", started=now, ended=now, recovered=False)

    async def _same_args(self, action: Action, ask: Ask) -> bool:
        intent = await self._ledger.read.event(action.intent)
        return intent is not None and intent.content("args") == (args_content(ask.args).data or b"")


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


def _overruled(decision: Decision, refusal: Refusal, bundle: Bundle) -> Decision:
    return Decision(
        verdict=Verdict.DENY,
        reason=refusal.reason,
        rule_ids=(),
        message=refusal.message or refusal.reason.meaning,
        risk=Risk.LOW,
        effect_class=decision.effect_class,
        policy_digest=bundle.digest,
        evaluator=EVALUATOR,
        inputs=decision.inputs,
    )


def _refused(reason: Reason, message: str) -> Answer:
    return Answer(False, reason.value, message)


def _answer(action: Action) -> Answer:
    """Allowed only with a dispatch in hand; a call that has ended already is not released again."""
    if action.decision == "ALLOW" and action.state == "ended":
        words = f"this call has ended already ({action.status}); what was released once is not released again"
        return Answer(False, Reason.UNGATED_EFFECT.value, words, action.rule, action.outcome, action)
    if action.decision == "ALLOW" and action.dispatch:
        return Answer(True, action.reason_code, action.message, action.rule, action.dispatch, action)
    message = action.message or Reason(action.reason_code).meaning
    return Answer(False, action.reason_code, message, action.rule, action.verdict, action)

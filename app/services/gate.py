"""The one gate: intent, verdict, dispatch, outcome. Whatever an agent wants to do passes `perform`, and nothing is
released before its dispatch is durable. Every path that is not an ALLOW is a refusal."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from app.domain.approval import binding_of
from app.domain.canonical import b64, canonical_bytes, strict_loads
from app.domain.content import JSON, Content, Usage
from app.domain.errors import AlreadyClaimed, Frozen, InvalidInput, LedgerUnavailable, NotFound, RunEnded
from app.domain.events import Draft, Local
from app.domain.ids import short_id
from app.domain.intent import describe
from app.domain.payloads import (
    ApprovalRequested,
    Dispatched,
    IntentRecorded,
    ObligationMet,
    OutcomeRecorded,
    VerdictGiven,
)
from app.domain.reasons import Reason
from app.domain.receipt import POLICY, Actor
from app.domain.run import Action
from app.domain.standing import Standing
from app.domain.times import text_of
from app.domain.verdict import (
    ApprovalTerms,
    Decision,
    Verdict,
)
from app.ports import Clock, FileMarks, Library, ToolCheck
from app.services.asks import MAX_ARGS, Answer, Ask, Judged, args_content
from app.services.judge import Judge, NoTools
from app.services.ledger import Ledger

VERDICT_LIFE_MS: Final = 86_400_000
EVALUATOR: Final = "helm-gate"
_TRIES: Final = 50


def bound(run: str, intent: IntentRecorded, asked: ApprovalRequested, policy: str) -> str:
    """The binding of a question: see `approval.binding_of`."""
    return binding_of(
        run=run,
        action=intent.action_id,
        tool=intent.tool,
        args=intent.args.digest,
        schema=intent.schema or "",
        policy=policy,
        principal=intent.requested_by,
        files=asked.files or (),
        expires=asked.expires,
    )


class Gate:
    """Judges intents, records them, and waits with those who must wait for a person."""

    def __init__(
        self, ledger: Ledger, library: Library, clock: Clock, marks: FileMarks, tools: ToolCheck | None = None
    ) -> None:
        self._ledger, self._library, self._clock = ledger, library, clock
        self.judge = Judge(library, clock, marks, tools or NoTools())

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
            return await self._told(action)
        except RunEnded:
            return _refused(Reason.RUN_ENDED, "the run has ended")
        except LedgerUnavailable as error:
            return _refused(Reason.LEDGER_UNAVAILABLE, error.message)
        except InvalidInput as error:
            # What has no place in a receipt cannot be recorded, and so does not happen.
            return _refused(Reason.SCHEMA_VIOLATION, error.message)

    async def _told(self, action: Action) -> Answer:
        answer = _answer(action)
        if not answer.allowed or not action.edited:
            return answer
        edited = strict_loads(await self.edited_args(action), max_bytes=MAX_ARGS)
        if not isinstance(edited, dict):
            return _refused(Reason.LEDGER_UNAVAILABLE, "what was allowed cannot be read back from the log")
        return replace(answer, edited=edited)

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
        drafts = [Draft(payload, by or Actor("agent", action.agent or "lead", "agent"), refs)]
        if status == "executed":
            drafts += await self._met(action)
        try:
            await self._ledger.record(run, *drafts)
        except (AlreadyClaimed, RunEnded):
            return

    async def _met(self, action: Action) -> list[Draft]:
        """What earlier actions of the run owed and this one does."""
        run = await self._ledger.run(action.run)
        if run is None or not run.owed:
            return []
        bundle = self._library.bundle(run.policy)
        return [
            Draft(ObligationMet(action.id, name, owner), refs={"intent": action.intent})
            for name, owner in sorted(run.owed.items())
            if owner != action.id and bundle.meets(name, action.tool)
        ]

    @property
    def standing(self) -> Standing:
        """What outlives the runs, as of the newest durable receipt."""
        return self._ledger.standing

    @staticmethod
    def held(action: Action) -> Usage | None:
        """What an action with a hold is charged when nobody knows what it used: all of it."""
        return Usage(0, 0, 0, 0, action.hold_micro) if action.hold_micro else None

    # --- judging -----------------------------------------------------------------------------------------------------

    async def _judge(self, ask: Ask) -> Action | None:
        """Judge and record a new intent; None when this call was recorded before."""
        for _ in range(_TRIES):
            run = await self._ledger.run(ask.run)
            if run is None or not run.live:
                raise RunEnded("the run has ended")
            if any(action.key == ask.key for action in run.actions.values()):
                return None
            judged = await self.judge.judged(run, ask, self._ledger.standing)
            try:
                return await self._ledger.record_action(ask.run, *self._drafts(ask, judged))
            except AlreadyClaimed as taken:
                if not taken.claim.startswith("grant/"):
                    return None
            except Frozen:
                continue  # it was frozen in this very moment: judged again, it is denied, and that is recorded
        raise LedgerUnavailable("the call could not be recorded: what it depends on changed each time")

    async def _known(self, ask: Ask) -> Action:
        found = await self._ledger.read.action(run=ask.run, key=ask.key)
        if found is None:
            raise LedgerUnavailable("the log answered twice in different ways")
        return found

    def _drafts(self, ask: Ask, judged: Judged) -> list[Draft]:
        decision = judged.decision
        action_id = short_id("act", self._clock.entropy(10))
        agent = Actor("agent", ask.agent.id or "lead", "agent")
        intent = self._intent(action_id, ask, judged)
        verdict = self._verdict(action_id, judged)
        drafts = [Draft(intent, agent), Draft(verdict, POLICY, {"intent": Local(0)})]
        refs = {"intent": Local(0), "verdict": Local(1)}
        if decision.verdict is Verdict.ALLOW:
            drafts.append(Draft(self.dispatch(action_id, intent.args.digest, ask.executor, ask.hold_micro), refs=refs))
        elif decision.verdict is Verdict.ESCALATE:
            drafts.append(Draft(self._question(ask, intent, decision), refs=refs))
        else:
            drafts.append(Draft(self.refused(action_id), refs=refs))
        return drafts

    def _intent(self, action_id: str, ask: Ask, judged: Judged) -> IntentRecorded:
        decision = judged.decision
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
            schema=judged.schema or None,
            files=judged.files or None,
        )

    def _verdict(self, action_id: str, judged: Judged) -> VerdictGiven:
        decision = judged.decision
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
            grant=judged.grant.id if judged.grant is not None else None,
            grant_use=judged.grant.used + 1 if judged.grant is not None else None,
        )

    def _question(self, ask: Ask, intent: IntentRecorded, decision: Decision) -> ApprovalRequested:
        now, terms = self._clock.now_ms(), decision.approval or ApprovalTerms()
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
        asked = ApprovalRequested(
            approval_id=short_id("apr", self._clock.entropy(10)),
            action_id=intent.action_id,
            challenge=b64(self._clock.entropy(32)),
            title=title,
            shown=Content.of(canonical_bytes(shown), JSON),
            quorum=terms.quorum,
            not_before=text_of(now + terms.delay_s * 1000),
            expires=text_of(now + (terms.delay_s + terms.timeout_s) * 1000),
            risk=decision.risk.value,
            files=intent.files,
            proof=terms.proof,
            roles=terms.roles,
            not_requester=terms.not_requester,
        )
        return replace(asked, binding=bound(ask.run, intent, asked, decision.policy_digest))

    def dispatch(
        self, action_id: str, args_digest: str, executor: str, hold_micro: int = 0, binding: str = ""
    ) -> Dispatched:
        """The release of an effect: single use, bound to the arguments that were judged."""
        return Dispatched(
            action_id=action_id,
            attempt=1,
            executor=executor,
            args_digest=args_digest,
            deadline=text_of(self._clock.now_ms() + VERDICT_LIFE_MS),
            token=short_id("tok", self._clock.entropy(10)),
            hold_micro=hold_micro,
            binding=binding or None,
        )

    def refused(self, action_id: str) -> OutcomeRecorded:
        """The ending of what was denied: it did not happen."""
        now = text_of(self._clock.now_ms())
        return OutcomeRecorded(action_id=action_id, status="refused", started=now, ended=now, recovered=False)

    async def _same_args(self, action: Action, ask: Ask) -> bool:
        """Whether it is the very call that was judged; its second hook may bring what a person made of it."""
        sent = args_content(ask.args).data or b""
        intent = await self._ledger.read.event(action.intent)
        if intent is not None and intent.content("args") == sent:
            return True
        return bool(action.edited) and await self.edited_args(action) == sent

    async def released_args(self, action: Action) -> bytes:
        """The canonical arguments that may run."""
        if action.edited:
            return await self.edited_args(action)
        intent = await self._ledger.read.event(action.intent)
        return intent.content("args") if intent is not None else b""

    async def edited_args(self, action: Action) -> bytes:
        """The canonical arguments that a person put in place of those that were asked for; empty where nobody did."""
        if not action.edited:
            return b""
        decision = await self._ledger.read.event(action.decision_id)
        return decision.content("edited") if decision is not None else b""


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

"""Questions to people. An approval is a row bound to one intent and to the bytes that were judged; the first answer
wins, the same answer again changes nothing, and nobody in time is a refusal of its own name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from app.domain.approval import Answerer, Choice, Offer, offer
from app.domain.content import JSON, Content, FileMark
from app.domain.errors import (
    AlreadyAnswered,
    AlreadyClaimed,
    Conflict,
    Forbidden,
    Frozen,
    InputChanged,
    InvalidInput,
    LedgerUnavailable,
    NotFound,
    RunEnded,
    SequenceMismatch,
)
from app.domain.events import Draft, Local
from app.domain.payloads import ApprovalRequested, VerdictGiven
from app.domain.reasons import Reason
from app.domain.receipt import POLICY
from app.domain.run import Action, Run, Steering
from app.domain.times import ms_of
from app.ports import Clock, FileMarks, ProofCheck
from app.services.answers import Answers, Question
from app.services.gate import Gate, bound
from app.services.ledger import Ledger
from app.services.replies import MAX_REASON, Reply
from app.services.steering import SteeringDesk

_IDLE_S: Final = 30.0
_RETRY_S: Final = 1.0
_TRIES: Final = 50
_SIGNED_MS: Final = 10 * 60_000  # a signed answer is sent within ten minutes of the time that it names


class Approvals:
    """Takes answers, expires what nobody answered, withdraws what nobody needs answered any more."""

    def __init__(
        self, ledger: Ledger, gate: Gate, clock: Clock, marks: FileMarks, proofs: ProofCheck, steering: SteeringDesk
    ) -> None:
        self._ledger, self._gate, self._clock, self._marks = ledger, gate, clock, marks
        self._proofs, self._steering = proofs, steering
        self._answers = Answers(gate, clock)

    async def resolve(self, approval: str, reply: Reply, *, who: Answerer, source: str = "") -> Action:
        """Give an answer, durably. The same answer by the same person again is harmless.

        An allowance that is not the last of a quorum returns the action still waiting. Raises NotFound, InvalidInput,
        Forbidden, AlreadyAnswered (409; it names who answered, when and how), InputChanged (409; it names the new
        question), Frozen, Conflict (not yet), LedgerUnavailable.
        """
        _check(reply)
        for _ in range(_TRIES):
            action = await self._find(approval)
            if action.state == "waiting" and self._due(action):
                await self._expire(action)
                action = await self._find(approval)
            if action.state != "waiting" or (reply.answer == "allow" and who.account in action.approvals):
                return _same_or_refuse(action, reply, who.account)
            run = await self._run(action)
            question = await self._question(action, run)
            self._permit(question, reply, who)
            try:
                if reply.answer == "allow":
                    await self._unchanged(question)
                return await self._record(question, reply, who.account, source)
            except SequenceMismatch:
                continue  # something else of the run was recorded first; of two last answers, one must see the other
            except (AlreadyClaimed, RunEnded):
                return _same_or_refuse(await self._find(approval), reply, who.account)
        raise LedgerUnavailable("the run moves on too fast to be answered; try again")

    async def offer(self, action: Action, who: Answerer) -> Offer:
        """What this person may do with an item now."""
        return offer(action, await self._run(action), self._ledger.standing, who, self._clock.now_ms())

    async def statement(self, approval: str, reply: Reply, *, who: Answerer) -> bytes:
        """The canonical JSON that a person signs: what they answer, and everything that it is bound to. `reply.at` is
        its time; the answer must be sent with the same one. Raises NotFound, AlreadyAnswered, InvalidInput."""
        _check(reply)
        action = await self._find(approval)
        if action.state != "waiting":
            raise _refused(action)
        question = await self._question(action, await self._run(action))
        prepared = await self._answers.prepare(question, reply)
        return self._answers.statement(question, reply, prepared, who.account, "")

    async def ask_again(self, approval: str, *, who: Answerer) -> Steering:
        """Tell the agent that somebody is there now, and that it may make the call again.

        Raises NotFound, Conflict (the question did not expire), Forbidden, RunEnded, LedgerUnavailable.
        """
        action = await self._find(approval)
        if "ask_again" not in (await self.offer(action, who)).choices:
            raise Conflict("only a question that expired, in a run that goes on, can be asked again")
        text = (
            f"Your call of {action.tool} ({action.target}) was not denied: nobody answered in time. Somebody is here"
            " now. If you still need it, make the same call again and it will be asked again."
        )
        return await self._steering.queue(
            action.run, text[:2_000], "steer", by=who.account, client_id=f"again_{action.approval}"[:64]
        )

    async def withdraw(self, action: Action, reason: Reason, message: str) -> None:
        """Close a question that nobody needs answered any more: refused, and not by a person."""
        await self._close(action, reason, message)

    async def expire_due(self) -> float:
        """Refuse what nobody answered in time; seconds until the next question expires."""
        waiting = await self._ledger.read.actions(state="waiting", limit=1_000)
        for action in waiting:
            if self._due(action):
                await self._expire(action)
        now = self._clock.now_ms()
        coming = [ms_of(action.expires) - now for action in waiting if not self._due(action)]
        return min([_IDLE_S, *(max(left, 0) / 1000 for left in coming)])

    async def watch(self) -> None:
        """Expire questions while the server runs. A log that cannot be written delays one, and never loses it."""
        opened = asyncio.Event()
        follower = asyncio.create_task(self._notice(opened), name="approvals-notice")
        try:
            while True:
                opened.clear()
                try:
                    delay = await self.expire_due()
                except LedgerUnavailable:
                    delay = _RETRY_S
                try:
                    await asyncio.wait_for(opened.wait(), delay + 0.01)
                except TimeoutError:
                    continue
        finally:
            follower.cancel()

    async def _notice(self, opened: asyncio.Event) -> None:
        async for page in self._ledger.follow(self._ledger.head):
            if any(isinstance(event.payload, ApprovalRequested) for event in page):
                opened.set()

    # --- what stands behind an answer --------------------------------------------------------------------------------

    async def _find(self, approval: str) -> Action:
        action = await self._ledger.read.action(approval=approval) if approval else None
        if action is None:
            raise NotFound("there is no such question; it may have been asked anew, see the inbox")
        return action

    async def _run(self, action: Action) -> Run:
        run = await self._ledger.run(action.run)
        if run is None:
            raise NotFound("there is no such run")
        return run

    async def _question(self, action: Action, run: Run) -> Question:
        read = self._ledger.read
        request, verdict, intent = [await read.event(id) for id in (action.request, action.verdict, action.intent)]
        if request is None or verdict is None or intent is None:
            raise LedgerUnavailable("the question cannot be read back from the log")
        lines = await read.lines(after=request.seq - 1, limit=1)
        if not lines:
            raise LedgerUnavailable("the question cannot be read back from the log")
        return Question(action, run, request, verdict, intent, lines[0][1])

    def _permit(self, question: Question, reply: Reply, who: Answerer) -> None:
        """Raises unless this person may give this answer now."""
        now = self._clock.now_ms()
        offered = offer(question.action, question.run, self._ledger.standing, who, now)
        choices = offered.choices
        if reply.answer not in choices:
            if self._ledger.standing.frozen(question.run.id, question.run.blueprint) is not None and choices:
                raise Frozen(offered.blocked)
            if offered.not_before:
                raise Conflict(f"{offered.blocked} It can be allowed from {offered.not_before} on.")
            raise Forbidden(offered.blocked or "this cannot be answered so")
        wanted = _wanted(reply)
        if wanted not in choices:
            if wanted == "allow_run" and "allow_pattern" in choices:
                raise Forbidden("what cannot be taken back is allowed for later calls only with a pattern")
            raise Forbidden("this question is answered once, as it was asked: neither edited nor for later calls")
        if offered.proof == "key" and reply.answer == "allow" and reply.proof.type == "none":
            raise Forbidden("this answer must be signed with a key of yours; enrol one under Settings > Approver keys")

    async def _unchanged(self, question: Question) -> None:
        """The files are what they were when it was asked; else the question closes and a new one is asked."""
        action = question.action
        if not action.files:
            return
        now = await self._marks.again(action.run, action.files)
        if now == action.files:
            return
        changed = [mark.path for mark, old in zip(now, action.files, strict=True) if mark != old]
        approval = await self._ask_anew(question, now, changed)
        words = ", ".join(changed)[:300]
        raise InputChanged(f"{words} changed while this was asked; look at it and answer the new question", approval)

    async def _ask_anew(self, question: Question, files: Sequence[FileMark], changed: list[str]) -> str:
        action = question.action
        message = f"Changed while it was asked: {', '.join(changed)}"[:300]
        verdict, fresh = self._answers.asked_anew(question, files, message)
        fresh = replace(fresh, binding=bound(action.run, question.said, fresh, verdict.policy_digest))
        refs = {"intent": action.intent, "supersedes": action.verdict, "request": action.request}
        drafts = [Draft(verdict, POLICY, refs), Draft(fresh, refs={"intent": action.intent, "verdict": Local(0)})]
        await self._ledger.record(action.run, *drafts)
        return fresh.approval_id

    async def _record(self, question: Question, reply: Reply, by: str, source: str) -> Action:
        """Answer, verdict and release (or refusal) in one transaction: after a crash there are all of them or none."""
        prepared = await self._answers.prepare(question, reply)
        said = self._answers.statement(question, reply, prepared, by, source)
        if reply.proof.type != "none":
            self._fresh(reply)
            self._proofs.check(reply.proof, said, by)
        drafts = self._answers.drafts(question, reply, prepared, said, by)
        await self._ledger.record(question.run.id, *drafts, expect=question.run.run_seq)
        return await self._find(question.action.approval)

    def _fresh(self, reply: Reply) -> None:
        at, now = ms_of(reply.at) if reply.at else 0, self._clock.now_ms()
        if not now - _SIGNED_MS <= at <= now + 1_000:
            raise InvalidInput("a signed answer is sent within ten minutes of the time that it names")

    def _due(self, action: Action) -> bool:
        return ms_of(action.expires) <= self._clock.now_ms()

    async def _expire(self, action: Action) -> None:
        await self._close(action, Reason.APPROVAL_TIMEOUT, "Nobody answered in time; this was not a denial.")

    async def _close(self, action: Action, reason: Reason, message: str) -> None:
        refs = {"intent": action.intent, "supersedes": action.verdict, "request": action.request}
        asked = await self._ledger.read.event(action.verdict)
        if asked is None or not isinstance(asked.payload, VerdictGiven):
            raise LedgerUnavailable("the verdict cannot be read back from the log")
        inputs = asked.contents.get("inputs") or Content(b"{}", JSON)
        verdict = self._answers.verdict(action, "DENY", reason, message, asked.payload, inputs)
        drafts = [
            Draft(verdict, POLICY, refs),
            Draft(self._gate.refused(action.id), refs={"intent": action.intent, "verdict": Local(0)}),
        ]
        try:
            await self._ledger.record(action.run, *drafts)
        except (AlreadyClaimed, RunEnded):
            return  # somebody answered in the same moment: their answer stands


def _wanted(reply: Reply) -> Choice:
    if reply.edited is not None:
        return "edit"
    if reply.grant is not None:
        return "allow_pattern" if reply.grant.pattern else "allow_run"
    return reply.answer


def _check(reply: Reply) -> None:
    if reply.answer not in ("allow", "deny"):
        raise InvalidInput("an answer is allow or deny")
    if len(reply.reason) > MAX_REASON:
        raise InvalidInput(f"a reason has at most {MAX_REASON} characters")
    if reply.answer == "deny" and (reply.edited is not None or reply.grant is not None):
        raise InvalidInput("a denial neither edits nor grants")
    if reply.edited is not None and reply.grant is not None:
        raise InvalidInput("an edited call is allowed once; give the grant with the next one")


def _same_or_refuse(action: Action, reply: Reply, by: str) -> Action:
    wanted = "approve" if reply.answer == "allow" else "deny"
    if action.state == "waiting" and wanted == "approve" and by in action.approvals:
        return action
    if action.answer == wanted and (action.answered_by == by or (wanted == "approve" and by in action.approvals)):
        return action
    raise _refused(action)


def _refused(action: Action) -> AlreadyAnswered:
    if action.answer == "expired":
        return AlreadyAnswered(f"the question expired at {action.answered_ts}; nobody had answered")
    if action.answer == "withdrawn":
        return AlreadyAnswered(f"the question was withdrawn at {action.answered_ts}; the run no longer waits")
    word = {"approve": "allowed", "deny": "denied"}.get(action.answer, "answered")
    return AlreadyAnswered(f"already {word} by {action.answered_by} at {action.answered_ts}")

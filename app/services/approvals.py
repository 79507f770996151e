"""Questions to a person. An approval is a row bound to one intent; the first answer wins, the same answer again changes
nothing, and nobody in time is a refusal of its own name."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from app.domain.canonical import b64, canonical_bytes
from app.domain.content import JSON, Content, Proof, Seen
from app.domain.errors import AlreadyAnswered, AlreadyClaimed, InvalidInput, LedgerUnavailable, NotFound, RunEnded
from app.domain.events import Draft, Local
from app.domain.payloads import ApprovalDecided, ApprovalRequested, VerdictGiven
from app.domain.reasons import Reason
from app.domain.receipt import POLICY, Actor, parse
from app.domain.run import Action
from app.domain.times import ms_of, text_of
from app.ports import Clock
from app.services.gate import EVALUATOR, VERDICT_LIFE_MS, Gate
from app.services.ledger import Ledger

MAX_REASON: Final = 2_000
_IDLE_S: Final = 30.0
_RETRY_S: Final = 1.0


class Approvals:
    """Takes answers, expires what nobody answered, withdraws what nobody needs answered any more."""

    def __init__(self, ledger: Ledger, gate: Gate, clock: Clock) -> None:
        self._ledger, self._gate, self._clock = ledger, gate, clock

    async def resolve(
        self, approval: str, answer: Literal["allow", "deny"], *, by: str, reason: str = "", source: str = ""
    ) -> Action:
        """Give the one answer, durably. The same answer by the same person again is harmless.

        Raises NotFound, InvalidInput, AlreadyAnswered (409; it names who answered, when and how), LedgerUnavailable.
        """
        if answer not in ("allow", "deny"):
            raise InvalidInput("an answer is allow or deny")
        if len(reason) > MAX_REASON:
            raise InvalidInput(f"a reason has at most {MAX_REASON} characters")
        action = await self._find(approval)
        if action.state == "waiting" and self._due(action):
            await self._expire(action)
            action = await self._find(approval)
        if action.state == "waiting":
            try:
                await self._record(action, answer, by, reason, source)
            except (AlreadyClaimed, RunEnded):
                return _same_or_refuse(await self._find(approval), answer, by)
            return await self._find(approval)
        return _same_or_refuse(action, answer, by)

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

    async def _find(self, approval: str) -> Action:
        action = await self._ledger.read.action(approval=approval) if approval else None
        if action is None:
            raise NotFound("there is no such approval")
        return action

    def _due(self, action: Action) -> bool:
        return ms_of(action.expires) <= self._clock.now_ms()

    async def _expire(self, action: Action) -> None:
        await self._close(action, Reason.APPROVAL_TIMEOUT, "Nobody answered in time; this was not a denial.")

    async def _close(self, action: Action, reason: Reason, message: str) -> None:
        refs = {"intent": action.intent, "supersedes": action.verdict, "request": action.request}
        verdict = await self._verdict(action, "DENY", reason, message)
        drafts = [
            Draft(verdict, POLICY, refs),
            Draft(self._gate.refused(action.id), refs={"intent": action.intent, "verdict": Local(0)}),
        ]
        try:
            await self._ledger.record(action.run, *drafts)
        except (AlreadyClaimed, RunEnded):
            return  # somebody answered in the same moment: their answer stands

    async def _record(self, action: Action, answer: str, by: str, reason: str, source: str) -> None:
        """Answer, verdict and release (or refusal) in one transaction: after a crash there are all three or none."""
        person = Actor("human", by, "client")
        decided = await self._decided(action, answer, by, reason, source)
        allow = answer == "allow"
        words = f"{by} allowed it." if allow else f"{by} denied it" + (f": {reason}" if reason else ".")
        verdict = await self._verdict(
            action, "ALLOW" if allow else "DENY", Reason.APPROVED if allow else Reason.APPROVAL_DENIED, words
        )
        refs: dict[str, str | Local] = {"intent": action.intent, "supersedes": action.verdict}
        refs |= {"request": action.request, "approval": Local(0)}
        ending: dict[str, str | Local] = {"intent": action.intent, "verdict": Local(1)}
        drafts = [Draft(decided, person, {"request": action.request}), Draft(verdict, POLICY, refs)]
        if allow:
            executor = "gateway" if action.door in ("mcp", "egress") else "runner"
            release = self._gate.dispatch(action.id, action.args, executor)
            drafts.append(Draft(release, refs={**ending, "approval": Local(0)}))
        else:
            drafts.append(Draft(self._gate.refused(action.id), refs=ending))
        await self._ledger.record(action.run, *drafts)

    async def _decided(self, action: Action, answer: str, by: str, reason: str, source: str) -> ApprovalDecided:
        request = await self._ledger.read.event(action.request)
        if request is None or not isinstance(request.payload, ApprovalRequested):
            raise LedgerUnavailable("the question cannot be read back from the log")
        decision: Literal["approve", "deny"] = "approve" if answer == "allow" else "deny"
        statement: dict[str, Any] = {
            "approval": action.approval,
            "decision": decision,
            "args": action.args,
            "shown": request.payload.shown.digest,
            "challenge": request.payload.challenge,
            "policy": (await self._policy_of(action)),
            "run": action.run,
            "by": by,
            "from": source,
            "at": text_of(self._clock.now_ms()),
        }
        return ApprovalDecided(
            approval_id=action.approval,
            decision=decision,
            approver=by,
            statement=b64(canonical_bytes(statement)),
            proof=Proof("none", ""),
            seen=await self._seen(request.seq),
            reason=Content.text(reason) if reason else None,
        )

    async def _seen(self, seq: int) -> Seen:
        """The state of the log that the question itself commits to: what its approver had before their eyes."""
        for _, line in await self._ledger.read.lines(after=seq - 1, limit=1):
            return Seen(seq, parse(line).root)
        raise LedgerUnavailable("the question cannot be read back from the log")

    async def _policy_of(self, action: Action) -> str:
        verdict = await self._ledger.read.event(action.verdict)
        return verdict.payload.policy_digest if verdict and isinstance(verdict.payload, VerdictGiven) else ""

    async def _verdict(
        self, action: Action, decision: Literal["ALLOW", "DENY"], reason: Reason, message: str
    ) -> VerdictGiven:
        """The verdict that takes the ESCALATE's place: the same policy and inputs, decided by a person or a clock."""
        asked = await self._ledger.read.event(action.verdict)
        if asked is None or not isinstance(asked.payload, VerdictGiven):
            raise LedgerUnavailable("the verdict cannot be read back from the log")
        inputs = asked.contents.get("inputs") or Content(b"{}", JSON)
        return VerdictGiven(
            action_id=action.id,
            decision=decision,
            reason_code=reason.value,
            rule_ids=asked.payload.rule_ids,
            policy_digest=asked.payload.policy_digest,
            evaluator=EVALUATOR,
            inputs=inputs,
            expires=text_of(self._clock.now_ms() + VERDICT_LIFE_MS),
            obligations=asked.payload.obligations,
            risk=asked.payload.risk,
            message=message[:2_000],
        )


def _same_or_refuse(action: Action, answer: str, by: str) -> Action:
    wanted = "approve" if answer == "allow" else "deny"
    if action.answer == wanted and action.answered_by == by:
        return action
    if action.answer == "expired":
        raise AlreadyAnswered(f"the question expired at {action.answered_ts}; nobody had answered")
    if action.answer == "withdrawn":
        raise AlreadyAnswered(f"the question was withdrawn at {action.answered_ts}; the run no longer waits")
    word = {"approve": "allowed", "deny": "denied"}.get(action.answer, "answered")
    raise AlreadyAnswered(f"already {word} by {action.answered_by} at {action.answered_ts}")

"""Grants: what a person allowed for later calls too. Each was given with an answer, expires, and can be taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.domain.canonical import strict_loads
from app.domain.errors import AlreadyClaimed, Conflict, InvalidInput, NotFound
from app.domain.events import Draft
from app.domain.expressions import BadExpression
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads import IntentRecorded
from app.domain.payloads_log import GrantRevoked
from app.domain.policy_grants import compile_pattern, matches_pattern
from app.domain.receipt import Actor
from app.domain.run import Action
from app.domain.standing import Grant
from app.domain.verdict import AgentFacts, EffectClass, Grade
from app.services.asks import MAX_ARGS, Ask
from app.services.gate import Gate
from app.services.ledger import Ledger

_LOOK_BACK: Final = 200
_EXAMPLES: Final = 5
MAX_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Preview:
    """What a pattern would have covered: of `looked_at` earlier calls of the tool, `matched`; some by their target."""

    matched: int
    looked_at: int
    examples: tuple[str, ...] = ()


class Grants:
    """Lists, previews and revokes."""

    def __init__(self, ledger: Ledger, gate: Gate) -> None:
        self._ledger, self._gate = ledger, gate

    def all(self) -> list[Grant]:
        """Every grant that is remembered, the newest first."""
        return sorted(self._ledger.standing.grants.values(), key=lambda grant: -grant.given_seq)

    async def revoke(self, grant: str, *, by: str, reason: str = "") -> Grant:
        """End a grant, durably: no call after this receipt passes by it. Raises NotFound, Conflict, InvalidInput."""
        found = self._ledger.standing.grants.get(grant)
        if found is None:
            raise NotFound("there is no such grant")
        if len(reason) > MAX_REASON:
            raise InvalidInput(f"a reason has at most {MAX_REASON} characters")
        if found.revoked_by:
            return found
        try:
            await self._ledger.record(SYSTEM_RUN, Draft(GrantRevoked(grant, reason, by), Actor("human", by, "client")))
        except AlreadyClaimed:
            return self._ledger.standing.grants.get(grant, found)
        after = self._ledger.standing.grants.get(grant)
        if after is None:
            raise Conflict("the grant was used up and forgotten in this moment")
        return after

    async def preview(self, tool: str, pattern: str, *, run: str = "") -> Preview:
        """What a pattern would have covered among the newest calls of a tool. Raises InvalidInput with the column."""
        try:
            condition = compile_pattern(pattern)
        except BadExpression as error:
            raise InvalidInput(f"the pattern, column {error.column}: {error.reason}") from None
        recent = await self._ledger.read.actions(run=run, limit=1_000)
        same = [action for action in recent if action.tool == tool][:_LOOK_BACK]
        matched = []
        for action in same:
            ask = await self._asked(action)
            owner = await self._ledger.run(action.run)
            if ask is None or owner is None:
                continue
            request = self._gate.judge.seen_by_rules(owner, ask, self._ledger.standing)
            if matches_pattern(condition, request, EffectClass(action.effect_class)):
                matched.append(action.target)
        return Preview(len(matched), len(same), tuple(matched[:_EXAMPLES]))

    async def _asked(self, action: Action) -> Ask | None:
        """An earlier call as it was asked; None where its arguments are not kept any more, or had no known effect."""
        intent = await self._ledger.read.event(action.intent)
        if intent is None or not isinstance(intent.payload, IntentRecorded) or action.effect_class == "unknown":
            return None
        try:
            args = strict_loads(intent.content("args"), max_bytes=MAX_ARGS)
        except InvalidInput:
            return None
        path = tuple(action.agent.split("/"))
        return Ask(
            run=action.run,
            door=intent.payload.door,
            tool=action.tool,
            args=args,
            key=action.key,
            executor="runner",
            grade=Grade(action.grade),
            agent=AgentFacts(intent.actor.id, path[-1], len(path) - 1, path),
        )

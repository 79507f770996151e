"""A freeze stops everything in its scope at once: first the receipt, behind which no release can come, then the door,
so that nothing leaves, then the containers, so that nothing goes on inside. Only a person lifts it."""

from __future__ import annotations

import asyncio
from typing import Final, Literal, TypeAlias

import structlog

from app.domain.errors import EngineUnavailable, HelmError, InvalidInput, NotFound, RunEnded
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads_log import Frozen
from app.domain.receipt import Actor
from app.domain.standing import Freeze, freeze_key
from app.ports import Door, Library
from app.services.ledger import Ledger
from app.services.runs import Runs

MAX_REASON: Final = 500
Scope: TypeAlias = Literal["all", "blueprint", "run"]
_SCOPES: Final = ("all", "blueprint", "run")

log = structlog.get_logger("helm.freezer")


class Freezer:
    """Freezes and unfreezes: everything, a blueprint's runs, or one run."""

    def __init__(self, ledger: Ledger, runs: Runs, door: Door, library: Library) -> None:
        self._ledger, self._runs, self._door, self._library = ledger, runs, door, library
        self._turn = asyncio.Lock()

    async def freeze(self, scope: Scope, target: str, *, by: str, reason: str = "") -> Freeze:
        """Freeze a scope. Nothing in it is released from the moment that the receipt is durable; when this returns,
        nothing leaves it and its containers stand still, too. Again, it is the same freeze, applied again.

        Raises InvalidInput, NotFound, RunEnded, LedgerUnavailable (then nothing is frozen), EngineUnavailable (it is
        frozen, and nobody confirms that a door is cut or that a container stands still).
        """
        await self._check(scope, target, reason)
        async with self._turn:
            key = freeze_key(scope, target)
            if key not in self._ledger.standing.freezes:
                order = Frozen("freeze", scope, target, reason, by)
                await self._ledger.record(SYSTEM_RUN, Draft(order, Actor("human", by, "client")))
            freeze = self._ledger.standing.freezes[key]
            await self._apply("It is frozen, and nothing is released any more", scope, target)
        return freeze

    async def unfreeze(self, scope: Scope, target: str, *, by: str, reason: str = "") -> Freeze:
        """Lift a freeze; what it was. What another freeze holds, or what is parked, stays still.

        Raises InvalidInput, NotFound, LedgerUnavailable, EngineUnavailable (it is lifted, and not everything goes on).
        """
        _check_words(scope, target, reason)
        async with self._turn:
            freeze = self._ledger.standing.freezes.get(freeze_key(scope, target))
            if freeze is None:
                raise NotFound("nothing is frozen there; list what is with: helm freeze --list")
            order = Frozen("unfreeze", scope, target, reason, by)
            await self._ledger.record(SYSTEM_RUN, Draft(order, Actor("human", by, "client")))
            await self._apply("It is unfrozen", scope, target)
        return freeze

    def freezes(self) -> tuple[Freeze, ...]:
        """What is frozen, the oldest first."""
        return tuple(sorted(self._ledger.standing.freezes.values(), key=lambda freeze: freeze.seq))

    async def _check(self, scope: Scope, target: str, reason: str) -> None:
        _check_words(scope, target, reason)
        if scope == "blueprint":
            self._library.blueprint(target)
        elif scope == "run":
            run = await self._runs.get(target)
            if not run.live:
                raise RunEnded(f"the run has ended already ({run.status}); there is nothing to freeze")

    async def _apply(self, done: str, scope: Scope, target: str) -> None:
        """Bring doors and containers to what the log now says: every door first."""
        runs = [run for run in self._runs.held() if self._covers(scope, target, run)]
        found = await asyncio.gather(*(self._set_door(run) for run in runs), return_exceptions=True)
        found += await asyncio.gather(*(self._runs.stillness.settle(run) for run in runs), return_exceptions=True)
        for error in found:
            if isinstance(error, HelmError):
                log.warning("freeze.not_applied", scope=scope, target=target, code=error.code, reason=error.message)
                raise EngineUnavailable(f"{done}; but {error.message} Try again, or stop the run.") from error
            if isinstance(error, BaseException):
                raise error

    def _covers(self, scope: Scope, target: str, run: str) -> bool:
        plan = self._runs.blueprint_of(run)
        return scope == "all" or target == (run if scope == "run" else plan.name if plan is not None else "")

    async def _set_door(self, run: str) -> None:
        if self._runs.is_frozen(run):
            await self._door.freeze(run)
        else:
            await self._door.thaw(run)


def _check_words(scope: str, target: str, reason: str) -> None:
    if scope not in _SCOPES:
        raise InvalidInput("what is frozen is all, a blueprint or a run")
    if (scope == "all") != (not target):
        raise InvalidInput("name the blueprint or the run; everything has no name")
    if len(target) > 100 or len(reason) > MAX_REASON:
        raise InvalidInput(f"a reason has at most {MAX_REASON} characters")

"""A run in which everything waits for people is parked: its container stands still and its slot goes to others. An
answer, a message or the end of a question wakes it; it takes a slot again, in its turn, and goes on where it stood."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from app.domain.errors import EngineUnavailable, HelmError, LedgerUnavailable, RunEnded, SequenceMismatch
from app.domain.events import Draft, Event
from app.domain.payload import Payload
from app.domain.payloads import Controlled, RunClosed, RunInterrupted, RunParked, RunUnparked, VerdictGiven
from app.domain.run import Action, Run
from app.domain.times import ms_of
from app.ports import Clock
from app.services.ledger import Ledger
from app.services.runs import Runs

WAITING: Final = "waiting"  # for people's answers
SLOT: Final = "slot"  # something has happened, and every slot is taken
_SPAWNS: Final = frozenset({"Agent", "Task"})  # calls that last as long as the sub-agent: it is looked at itself
_LONGEST_LOOK_S: Final = 10.0
_RETRY_S: Final = 1.0

log = structlog.get_logger("helm.parking")


class Parking:
    """Parks runs that wait for people, and wakes them. `after_s`: how long everything in a run must have waited; a
    blueprint can say less."""

    def __init__(self, ledger: Ledger, runs: Runs, clock: Clock, after_s: int) -> None:
        self._ledger, self._runs, self._clock, self._after_s = ledger, runs, clock, after_s
        self._dozing: dict[str, asyncio.Task[None]] = {}

    async def watch(self) -> None:
        """Take up what is parked, and park and wake runs while the server runs."""
        try:
            await self.take_up()
            while True:
                try:
                    delay = await self.park_due()
                except HelmError as error:
                    log.warning("parking.looked_in_vain", code=error.code, reason=error.message)
                    delay = _RETRY_S
                await asyncio.sleep(delay)
        finally:
            await self.let_go()

    async def take_up(self) -> None:
        """After a restart: runs that were parked stay so; what happened since they were is taken into account."""
        for run in self._runs.held():
            found = await self._ledger.run(run)
            if found is not None and found.parked and run not in self._dozing:
                self._doze(run, found.parked_seq)

    async def park_due(self) -> float:
        """Park every run in which all has waited for long enough; seconds until it is worth looking again."""
        left = [_LONGEST_LOOK_S, self._after_s / 4]
        for run in self._runs.held():
            found = await self._ledger.run(run)
            if found is None or not self._may_park(found):
                continue
            waited = (self._clock.now_ms() - ms_of(found.last_ts)) / 1000
            after = self._after(run)
            if waited >= after:
                await self._park(found)
            else:
                left.append(after - waited)
        return max(0.05, min(left))

    async def let_go(self) -> None:
        """Watch no more; parked runs stay parked."""
        tasks = list(self._dozing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._dozing.clear()

    def _after(self, run: str) -> int:
        plan = self._runs.blueprint_of(run)
        own = plan.park_after_s if plan is not None else None
        return self._after_s if own is None else min(own, self._after_s)

    def _may_park(self, run: Run) -> bool:
        if not (run.live and run.connected) or run.parked or run.stopping or run.interrupted:
            return False
        return all_waits(run) and not self._runs.is_frozen(run.id)

    async def _park(self, run: Run) -> None:
        """Record it, let the container stand still, and only then give the slot away."""
        try:
            (event,) = await self._ledger.record(run.id, Draft(RunParked(WAITING)), expect=run.run_seq)
        except (SequenceMismatch, RunEnded):
            return  # something has happened in this very moment
        try:
            await self._runs.stillness.settle(run.id)
        except EngineUnavailable as error:
            log.warning("run.not_parked", run=run.id, reason=error.message)
            await self._ledger.record(run.id, Draft(RunUnparked("refused")))
            return
        self._runs.slots.leave(run.id)
        self._doze(run.id, event.seq)

    def _doze(self, run: str, after: int) -> None:
        task = asyncio.create_task(self._until_woken(run, after), name=f"parked-{run}")
        self._dozing[run] = task
        task.add_done_callback(lambda _: self._dozing.pop(run, None))

    async def _until_woken(self, run: str, after: int) -> None:
        why = await self._stirred(run, after)
        while why:
            try:
                await self._wake(run, why)
                return
            except RunEnded:
                self._runs.slots.leave(run)
                return
            except (EngineUnavailable, LedgerUnavailable) as error:
                log.warning("run.not_woken", run=run, code=error.code, reason=error.message)
                await asyncio.sleep(_RETRY_S)

    async def _stirred(self, run: str, after: int) -> str:
        """What a parked run wakes for, once it is there; nothing when the run ends instead."""
        async for page in self._ledger.follow(after, run):
            for event in page:
                if isinstance(event.payload, (RunClosed, RunInterrupted)):
                    return ""
                if why := _stirs(event):
                    return why
        return ""

    async def _wake(self, run: str, why: str) -> None:
        found = await self._runs.get(run)
        if not found.live or found.stopping:
            return
        if not self._runs.slots.take_again(run):
            if found.parked != SLOT:
                await self._ledger.record(run, Draft(RunParked(SLOT)))
            await self._runs.slots.in_turn(run)
        if (await self._runs.get(run)).parked:
            await self._ledger.record(run, Draft(RunUnparked(why)))
        await self._runs.stillness.settle(run)


def all_waits(run: Run) -> bool:
    """Whether every agent in a run stands at a question to a person, and nothing that was released is still going on.
    An open connection alone does not keep a run going."""
    open_ones = list(run.actions.values())
    return any(action.state == "waiting" for action in open_ones) and not any(map(_goes_on, open_ones))


def _goes_on(action: Action) -> bool:
    if action.state == "waiting" or action.door == "egress":
        return False
    return action.tool not in _SPAWNS


def _verdict(payload: VerdictGiven) -> str:
    return "" if payload.decision == "ESCALATE" else "answered"


def _control(payload: Controlled) -> str:
    return "steered" if payload.verb == "steer" else ""


_STIRS: Final[dict[type[Payload], Callable[..., str]]] = {VerdictGiven: _verdict, Controlled: _control}


def _stirs(event: Event) -> str:
    """Why an event wakes a parked run; nothing for one that does not."""
    stirs = _STIRS.get(type(event.payload))
    return stirs(event.payload) if stirs is not None else ""

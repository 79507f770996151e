"""Small real stand-ins: a log in memory with the very contract of the SQLite one, and faults that strike before a write
or after it was stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from app.domain.chain import Head, Sealed
from app.domain.errors import LedgerUnavailable
from app.domain.events import Event
from app.domain.ids import SYSTEM_RUN
from app.domain.merkle import Frontier, frontier_of
from app.domain.payloads import RunClosed
from app.domain.receipt import parse
from app.domain.run import Action, Run, Steering
from app.domain.standing import Standing
from app.ports import Batch, RunFilter

Fault = Literal["before", "after"]


class StepClock:
    """Time moves by a millisecond at each look; randomness never repeats."""

    def __init__(self, start_ms: int = 1_795_000_000_000) -> None:
        self.ms = start_ms
        self._drawn = 0

    def now_ms(self) -> int:
        self.ms += 1
        return self.ms

    def mono_ns(self) -> int:
        return self.ms * 1_000_000

    def entropy(self, size: int) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(8, "big").rjust(size, b"\x07")


class MemoryStore:
    """A LogStore over lists. `faults` are used up in order, one for each write."""

    def __init__(self) -> None:
        self.sealed: list[Sealed] = []
        self.claims: dict[str, int] = {}
        self.runs: dict[str, Run] = {}
        self.actions: dict[str, Action] = {}
        self.messages: dict[str, tuple[str, Steering]] = {}
        self.settled = Standing()
        self.faults: list[Fault] = []
        self.writes = 0

    def frontier(self) -> Frontier:
        return frontier_of(entry.leaf for entry in self.sealed)

    def head(self, run: str) -> Head | None:
        for entry in reversed(self.sealed):
            if entry.event.run == run:
                last = parse(entry.line)
                closed = isinstance(last.payload, RunClosed) and run != SYSTEM_RUN
                return Head(last.run_seq, last.id, last.lamport, closed)
        return None

    def fold(self, run: str) -> Run | None:
        return self.runs.get(run)

    def standing(self) -> Standing:
        return self.settled

    def claimed(self, claims: Sequence[str]) -> tuple[str, int] | None:
        taken = sorted((self.claims[claim], claim) for claim in claims if claim in self.claims)
        return (taken[0][1], taken[0][0]) if taken else None

    def write(self, batch: Batch) -> None:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            raise LedgerUnavailable("the disk is full")
        self.writes += 1
        self.sealed.extend(batch.sealed)
        self.claims.update(batch.claims)
        self.runs.update(batch.runs)
        self.actions.update(batch.actions)
        self.messages.update(batch.steering)
        self.settled = batch.standing or self.settled
        if fault == "after":
            raise LedgerUnavailable("the disk did not answer")

    def lines(self) -> list[bytes]:
        return [entry.line for entry in self.sealed]

    def close(self) -> None:
        return


class MemoryReader:
    """A LogReader over a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def events(
        self, *, after: int = -1, before: int | None = None, run: str = "", limit: int = 500
    ) -> list[Event]:
        found = [entry.event for entry in self._store.sealed if entry.event.seq > after]
        found = [event for event in found if not run or event.run == run]
        if before is not None:
            return [event for event in found if event.seq < before][-limit:]
        return found[:limit]

    async def event(self, key: str | int) -> Event | None:
        return next((e.event for e in self._store.sealed if key in (e.event.id, e.event.seq)), None)

    async def lines(self, *, after: int, limit: int) -> list[tuple[int, bytes]]:
        return [(e.event.seq, e.line) for e in self._store.sealed if e.event.seq > after][:limit]

    async def run(self, run: str) -> Run | None:
        return self._store.runs.get(run)

    async def runs(self, which: RunFilter) -> list[Run]:
        newest = sorted(self._store.runs.values(), key=lambda run: -run.no)
        return [run for run in newest if _shows(which, run)][: which.limit]

    async def counts(self) -> Mapping[str, int]:
        runs = list(self._store.runs.values())
        found = {"all": len(runs), "live": sum(r.live for r in runs), "ended": sum(not r.live for r in runs)}
        for run in runs:
            found[run.status] = found.get(run.status, 0) + 1
        return found | {"needs": sum(_needs(run) for run in runs)}

    async def action(self, *, id: str = "", run: str = "", key: str = "", approval: str = "") -> Action | None:
        for action in self._store.actions.values():
            if id:
                wanted = action.id == id
            elif approval:
                wanted = action.approval == approval
            else:
                wanted = (action.run, action.key) == (run, key)
            if wanted:
                return action
        return None

    async def actions(self, *, run: str = "", state: str = "", limit: int = 200) -> list[Action]:
        newest = sorted(self._store.actions.values(), key=lambda action: -action.opened_seq)
        return [a for a in newest if (not run or a.run == run) and (not state or a.state == state)][:limit]

    async def known_keys(self, run: str, keys: Sequence[str]) -> dict[str, Action]:
        return {a.key: a for a in self._store.actions.values() if a.run == run and a.key in keys}

    async def inbox(self) -> list[Action]:
        actions = list(self._store.actions.values())
        waiting = sorted((a for a in actions if a.state == "waiting"), key=lambda a: a.expires)
        lost = [a for a in actions if a.status == "unknown" and a.door in ("tool", "mcp") and a.effect_class != "read"]
        return [*waiting, *sorted(lost, key=lambda a: -a.opened_seq)]

    async def steering(self, run: str) -> list[Steering]:
        return sorted((m for owner, m in self._store.messages.values() if owner == run), key=lambda m: m.queued_seq)

    async def spent_since(self, ts: str) -> int:
        return sum(a.cost_micro for a in self._store.actions.values() if a.ended_ts >= ts)

    async def rule_hits(self) -> Mapping[tuple[str, str], int]:
        decided = [(self._store.runs[a.run].policy, a.rule) for a in self._store.actions.values() if a.rule]
        return {key: decided.count(key) for key in decided}

    async def size(self) -> int:
        return len(self._store.sealed)

    def close(self) -> None:
        return


def _needs(run: Run) -> bool:
    return bool(run.waiting()) or run.unknown > 0 or (run.status == "interrupted" and run.live)


def _shows(which: RunFilter, run: Run) -> bool:
    groups = {"live": run.live, "ended": not run.live, "needs": _needs(run)}
    status = not which.status or groups.get(which.status, run.status == which.status)
    named = (not which.blueprint or run.blueprint == which.blueprint) and which.text.lower() in run.title.lower()
    return status and named and (not which.before_no or run.no < which.before_no)

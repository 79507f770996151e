"""What the side tabs of a run add up: spend by agent and model, hosts, kinds of receipts. Kept per run while somebody
looks at it and brought up to date from the log, so that opening a long run again costs nothing."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Final

from app.domain.content import Usage
from app.domain.events import Event
from app.domain.payloads import AgentSpawned, IntentRecorded, OutcomeRecorded, VerdictGiven
from app.domain.run import Run
from app.ports import LogReader
from app.web.action_rows import LEAD, at
from app.web.views import CostlyCall, EgressLine, EvidenceTab, Money, SpendLine, SpendSeries, SpendTab

_PAGE: Final = 1_000
_KEPT: Final = 64
_POINTS: Final = 400
_COSTLY: Final = 5
_HOSTS: Final = 200
_AGENTS: Final = 50


@dataclass(slots=True)
class _Sum:
    calls: int = 0
    tokens: int = 0
    spent: int = 0
    points: list[tuple[int, int]] = field(default_factory=list)

    def add(self, usage: Usage, at_ms: int) -> None:
        self.calls += 1
        self.tokens += usage.input_tokens + usage.output_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        self.spent += usage.cost_micro
        self.points.append((at_ms, self.spent))
        if len(self.points) > _POINTS:
            # The chart is 300 pixels wide: every other step of the older half is enough.
            half = len(self.points) // 2
            self.points = self.points[:half:2] + self.points[half:]


@dataclass(slots=True)
class _Host:
    allowed: int = 0
    denied: int = 0
    last_ms: int = 0
    rule: str = ""


class Book:
    """The sums of one run up to event `upto`."""

    def __init__(self) -> None:
        self.upto = -1
        self._lock = asyncio.Lock()
        self._first = 0
        self._count = 0
        self._head = ""
        self._last = 0
        self._kinds: Counter[str] = Counter()
        self._open: dict[str, tuple[str, str, str]] = {}  # action -> door, agent, target
        self.names: dict[str, str] = {}
        self._agents: dict[str, _Sum] = {}
        self._models: dict[str, _Sum] = {}
        self._hosts: OrderedDict[tuple[str, int], _Host] = OrderedDict()
        self._costly: list[CostlyCall] = []

    async def catch_up(self, reader: LogReader, run: str, upto: int) -> None:
        """Read what was added up to event `upto`. Two callers share the work."""
        async with self._lock:
            while self.upto < upto:
                page = await reader.events(after=self.upto, run=run, limit=_PAGE)
                for event in page:
                    self._add(event)
                self.upto = page[-1].seq if len(page) == _PAGE else max(upto, page[-1].seq if page else upto)

    def _add(self, event: Event) -> None:
        if not self._count:
            self._first = event.seq
        self._count += 1
        self._head, self._last = event.id, event.seq
        self._kinds[event.name] += 1
        payload = event.payload
        if isinstance(payload, AgentSpawned) and len(self.names) < 1_000:
            self.names[payload.agent] = payload.agent_type
        elif isinstance(payload, IntentRecorded) and payload.door in ("model", "egress"):
            self._open[payload.action_id] = (payload.door, event.actor.id, payload.target)
        elif isinstance(payload, VerdictGiven) and payload.decision != "ESCALATE":
            self._judged(event, payload)
        elif isinstance(payload, OutcomeRecorded):
            self._ended(event, payload)

    def _judged(self, event: Event, payload: VerdictGiven) -> None:
        door, _, target = self._open.get(payload.action_id, ("", "", ""))
        if door != "egress":
            return
        name, _, port = target.rpartition(":")
        key = (name or target, int(port) if port.isdecimal() and len(port) < 6 else 0)
        host = self._hosts.setdefault(key, _Host())
        host.last_ms = at(event.ts)
        if payload.decision == "ALLOW":
            host.allowed += 1
        else:
            host.denied += 1
            host.rule = payload.rule_ids[0] if payload.rule_ids else payload.reason_code
        while len(self._hosts) > _HOSTS:
            self._hosts.popitem(last=False)

    def _ended(self, event: Event, payload: OutcomeRecorded) -> None:
        door, agent, model = self._open.pop(payload.action_id, ("", "", ""))
        if door != "model" or payload.usage is None or payload.status == "refused":
            return
        name = "lead" if agent in LEAD else self.names.get(agent, agent)
        if name not in self._agents and len(self._agents) >= _AGENTS:
            name = "others"
        for sums, key in ((self._agents, name), (self._models, model or "unknown")):
            sums.setdefault(key, _Sum()).add(payload.usage, at(event.ts))
        self._costly.append(CostlyCall(event.seq, f"{name}, {model}", payload.usage.cost_micro))
        self._costly = sorted(self._costly, key=lambda call: -call.spent)[:_COSTLY]

    def spend(self, run: Run, now_ms: int) -> SpendTab:
        """The spend tab. The totals are the run's own, so that they are right even before the book is complete."""
        waiting = run.waiting()
        started = at(run.opened_ts)
        return SpendTab(
            money=Money(run.spent_micro, run.held_micro, run.budget_micro),
            from_ms=started,
            to_ms=max(at(run.closed_ts) if run.closed else now_ms, started + 1),
            series=tuple(SpendSeries(name, tuple(total.points)) for name, total in self._agents.items()),
            agents=_lines(self._agents),
            models=_lines(self._models),
            costliest=tuple(call for call in self._costly if call.spent),
            blocked_ms=at(waiting[0].opened_ts) if waiting else None,
            blocked_seq=waiting[0].request_seq if waiting else 0,
            source="As metered at the door from the provider's own count.",
        )

    def egress(self) -> tuple[EgressLine, ...]:
        """Hosts, the last used first."""
        lines = (
            EgressLine(name, port, host.allowed, host.denied, host.last_ms, host.rule if host.denied else "")
            for (name, port), host in self._hosts.items()
        )
        return tuple(sorted(lines, key=lambda line: -line.last_ms))

    def evidence(self, run: Run, key_id: str) -> EvidenceTab:
        """What the log holds about the run."""
        return EvidenceTab(
            receipts=self._count,
            first_seq=self._first,
            last_seq=self._last,
            head_hash=self._head,
            key_id=key_id,
            policy_digest=run.policy_digest,
            counts=tuple(self._kinds.most_common()),
        )


def _lines(sums: dict[str, _Sum]) -> tuple[SpendLine, ...]:
    lines = (SpendLine(name, total.calls, total.tokens, total.spent) for name, total in sums.items())
    return tuple(sorted(lines, key=lambda line: -line.spent))


class Books:
    """The books of the runs that were looked at last."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._books: OrderedDict[str, Book] = OrderedDict()
        self._reading: dict[str, asyncio.Task[None]] = {}

    async def get(self, run: str, upto: int, patience_s: float) -> tuple[Book, bool]:
        """A run's book, and whether it is complete up to `upto`. Reading goes on behind a caller who does not wait."""
        book = self._books.setdefault(run, Book())
        self._books.move_to_end(run)
        while len(self._books) > _KEPT:
            self._books.popitem(last=False)
        if book.upto >= upto:
            return book, True
        reading = self._reading.get(run)
        if reading is None:
            reading = asyncio.create_task(book.catch_up(self._reader, run, upto), name=f"book-{run}")
            self._reading[run] = reading
            reading.add_done_callback(lambda done: self._read(run, done))
        done, _ = await asyncio.wait([reading], timeout=patience_s)
        return book, bool(done) and book.upto >= upto

    def _read(self, run: str, done: asyncio.Task[None]) -> None:
        self._reading.pop(run, None)
        if not done.cancelled():
            done.exception()  # a log that cannot be read is told by the page's own reads; here it only means "later"

    async def close(self) -> None:
        """Stop reading."""
        for reading in list(self._reading.values()):
            reading.cancel()
        if self._reading:
            await asyncio.wait(list(self._reading.values()), timeout=5)

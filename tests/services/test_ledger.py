"""The ledger's promises, on memory and on SQLite alike: what it answered is durable, what it refused is not there, one
of many wins, followers miss nothing. After each test the log is read again and checked line by line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from app.adapters.sqlite.reader import SqliteReader
from app.adapters.sqlite.store import SqliteStore
from app.domain.chain import Chain
from app.domain.content import Content, Seen
from app.domain.errors import (
    AlreadyClaimed,
    HelmError,
    InvalidInput,
    LedgerUnavailable,
    NotFound,
    RunEnded,
    SequenceMismatch,
    TooLarge,
)
from app.domain.events import Draft, Event, Local
from app.domain.payloads import Controlled, RunNoted
from app.domain.receipt import POLICY, Actor, parse
from app.domain.signing import Signer
from app.ports import LogReader, LogStore
from app.services.ledger import Ledger

from tests.fakes import MemoryReader, MemoryStore, StepClock
from tests.log_kit import (
    AGENT,
    ANA,
    LOG,
    SIGNER,
    answer,
    check,
    closing,
    created,
    dispatch,
    intent,
    note,
    opened,
    outcome,
    question,
    sealed_args,
    verdict,
)


@dataclass
class Desk:
    """A ledger, the store under it, and a way to open the same log again."""

    kind: str
    path: Path
    store: MemoryStore | SqliteStore
    reader: MemoryReader | SqliteReader
    ledger: Ledger

    async def reopened(self) -> Desk:
        """The same log after the process ended: everything cached is gone."""
        await self.shut()
        return _desk(self.kind, self.path, self.store if isinstance(self.store, MemoryStore) else None)

    async def shut(self) -> None:
        await self.ledger.close()
        self.reader.close()
        self.store.close()

    async def lines(self) -> list[bytes]:
        found: list[bytes] = []
        while page := await self.ledger.read.lines(after=len(found) - 1, limit=500):
            found += [line for _, line in page]
        return found


def _desk(kind: str, path: Path, memory: MemoryStore | None = None, signer: Signer = SIGNER) -> Desk:
    store: MemoryStore | SqliteStore
    reader: MemoryReader | SqliteReader
    if kind == "memory":
        store = memory or MemoryStore()
        reader = MemoryReader(store)
    else:
        store, reader = SqliteStore(path), SqliteReader(path)
    as_store: LogStore = store
    as_reader: LogReader = reader
    ledger = Ledger(Chain(LOG, signer, 0, "boot"), as_store, as_reader, StepClock(int(time.time() * 1000)))
    ledger.start()
    return Desk(kind, path, store, reader, ledger)


async def check_log_of(desk: Desk) -> None:
    """Reload and check: the log verifies, every event is stored once and in order, and the folds follow from it."""
    again = await desk.reopened()
    lines = await again.lines()
    report = check(lines)
    assert report.ok, report.errors
    assert report.receipts == again.ledger.head + 1
    await again.shut()


@pytest.fixture(params=["memory", "sqlite"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    made = _desk(request.param, tmp_path / "helm.db")
    await made.ledger.record("_sys", Draft(opened()))
    await made.ledger.record("r1", Draft(created(1), ANA))
    yield made
    await check_log_of(made)


def first(desk: Desk) -> MemoryStore:
    assert isinstance(desk.store, MemoryStore)
    return desk.store


async def all_events(desk: Desk) -> list[Event]:
    found: list[Event] = []
    while page := await desk.ledger.read.events(after=len(found) - 1):
        found += page
    return found


# --- recording -------------------------------------------------------------------------------------------------------


async def test_what_is_answered_is_there(desk: Desk) -> None:
    (event,) = await desk.ledger.record("r1", Draft(note("hello")))
    assert desk.ledger.head == event.seq == 2
    stored = await desk.ledger.read.event(event.id)
    assert stored is not None and stored.text("text") == "hello" and stored.name == "run.noted"


async def test_a_thousand_callers_share_commits_and_each_gets_its_own_receipt(desk: Desk) -> None:
    asked = [desk.ledger.record("r1", Draft(note(f"n{number}"))) for number in range(1_000)]
    answers = await asyncio.gather(*asked)
    assert [events[0].text("text") for events in answers] == [f"n{number}" for number in range(1_000)]
    assert sorted(events[0].seq for events in answers) == list(range(2, 1_002))
    if isinstance(desk.store, MemoryStore):
        assert desk.store.writes < 100


async def test_all_or_nothing(desk: Desk) -> None:
    with pytest.raises(TooLarge):
        await desk.ledger.record("r1", Draft(note("kept?")), Draft(_huge()))
    assert desk.ledger.head == 1
    await desk.ledger.record("r1", Draft(note()))


def _huge() -> Controlled:
    return Controlled("steer", "c", "\u4e2d" * 16_384, Content.text("x" * 10))


async def test_compare_and_append(desk: Desk) -> None:
    await desk.ledger.record("r1", Draft(note()), expect=0)
    with pytest.raises(SequenceMismatch):
        await desk.ledger.record("r1", Draft(note()), expect=0)
    with pytest.raises(SequenceMismatch):
        await desk.ledger.record("r2", Draft(created(2)), expect=0)
    await desk.ledger.record("r2", Draft(created(2)), expect=-1)


async def test_nothing_comes_after_a_close(desk: Desk) -> None:
    await desk.ledger.record("r1", Draft(closing(1)))
    for drafts in ([Draft(note())], [Draft(created(1))], [Draft(created(2))]):
        with pytest.raises(RunEnded):
            await desk.ledger.record("r1", *drafts)


async def test_a_close_and_something_after_it_in_one_recording(desk: Desk) -> None:
    with pytest.raises(RunEnded):
        await desk.ledger.record("r1", Draft(closing(1)), Draft(note()))
    await desk.ledger.record("r1", Draft(note()))


async def test_a_refused_caller_does_not_harm_those_in_the_same_transaction(desk: Desk) -> None:
    broken = [
        desk.ledger.record("nowhere", Draft(note())),
        desk.ledger.record("r1", Draft(verdict("a", "ALLOW"), POLICY, {"intent": Local(3)})),
        desk.ledger.record("r1", Draft(verdict("a", "ALLOW"), POLICY, {"intent": "no digest"})),
        desk.ledger.record("r1", Draft(RunNoted("loud", Content.text("x")))),  # type: ignore[arg-type]
        desk.ledger.record("r1", Draft(RunNoted("info", "no content"))),  # type: ignore[arg-type]
        desk.ledger.record("r1", Draft(note(), Actor("human", "x" * 300))),
        desk.ledger.record("r1", Draft(intent("a", key="\ud800"), AGENT)),
        desk.ledger.record("r1", Draft(intent("a" * 20_000), AGENT)),
        desk.ledger.record("_sys", Draft(note())),
        desk.ledger.record("r1", Draft(opened())),
    ]
    good = [desk.ledger.record("r1", Draft(note(f"good {number}"))) for number in range(10)]
    results = await asyncio.gather(
        *[task for pair in zip(broken, good, strict=True) for task in pair], return_exceptions=True
    )
    assert all(isinstance(result, InvalidInput | NotFound) for result in results[::2]), results[::2]
    assert all(isinstance(result, tuple) for result in results[1::2])
    assert desk.ledger.fault == ""


async def test_two_runs_may_use_one_control_id(desk: Desk) -> None:
    await desk.ledger.record("r2", Draft(created(2)))
    steer = Draft(Controlled("steer", "same", "queue", Content.text("go")), ANA)
    await asyncio.gather(desk.ledger.record("r1", steer), desk.ledger.record("r2", steer))
    assert [len(await desk.ledger.read.steering(run)) for run in ("r1", "r2")] == [1, 1]


# --- claims ----------------------------------------------------------------------------------------------------------


async def test_one_of_a_hundred_identical_intents_wins(desk: Desk) -> None:
    asked = [desk.ledger.record("r1", Draft(intent(f"act{n}", key="toolu_1"), AGENT)) for n in range(100)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    winners = [result for result in results if isinstance(result, tuple)]
    losers = [result for result in results if isinstance(result, AlreadyClaimed)]
    assert (len(winners), len(losers)) == (1, 99)
    assert {loser.seq for loser in losers} == {winners[0][0].seq}
    found = await desk.ledger.read.known_keys("r1", ["toolu_1"])
    assert found["toolu_1"].intent == winners[0][0].id


async def asked_about(desk: Desk, id: str = "act1") -> tuple[Event, ...]:
    return await desk.ledger.record(
        "r1",
        Draft(intent(id, args=sealed_args(id)), AGENT),
        Draft(verdict(id, "ESCALATE", _soon()), POLICY, {"intent": Local(0)}),
        Draft(question(id, "apr1", expires_ms=_soon()), refs={"intent": Local(0), "verdict": Local(1)}),
    )


def _soon() -> int:
    return int(time.time() * 1000) + 3_600_000


async def test_one_of_a_hundred_answers_wins_whoever_gives_it(desk: Desk) -> None:
    asked = await asked_about(desk)
    args, now = sealed_args("act1").digest, int(time.time() * 1000) + 1_000
    seen = Seen(asked[2].seq, parse((await desk.lines())[asked[2].seq]).root)

    async def give(number: int) -> tuple[Event, ...]:
        by = f"person{number % 10}"
        decided = answer(asked[2], args, "approve" if number % 2 else "deny", by, now, seen)
        ending = verdict("act1", "ALLOW" if number % 2 else "DENY", _soon())
        refs: dict[str, str | Local] = {"intent": asked[0].id, "supersedes": asked[1].id, "approval": Local(0)}
        refs["request"] = asked[2].id
        last = dispatch("act1", args) if number % 2 else outcome("act1", "refused")
        ends: dict[str, str | Local] = {"intent": asked[0].id, "verdict": Local(1)}
        if number % 2:
            ends["approval"] = Local(0)
        return await desk.ledger.record(
            "r1",
            Draft(decided, Actor("human", by, "client"), {"request": asked[2].id}),
            Draft(ending, POLICY, refs),
            Draft(last, refs=ends),
        )

    results = await asyncio.gather(*[give(number) for number in range(100)], return_exceptions=True)
    assert sum(isinstance(result, tuple) for result in results) == 1
    assert sum(isinstance(result, AlreadyClaimed) for result in results) == 99
    run = await desk.ledger.read.run("r1")
    assert run is not None and not run.waiting()


async def test_one_recording_cannot_take_a_claim_twice(desk: Desk) -> None:
    with pytest.raises(AlreadyClaimed):
        await desk.ledger.record("r1", Draft(intent("a", "k1"), AGENT), Draft(intent("a", "k2"), AGENT))
    with pytest.raises(AlreadyClaimed):
        await desk.ledger.record("r9", Draft(created(9)), Draft(created(9)))
    assert desk.ledger.head == 1


async def test_a_claim_is_kept_over_a_restart(desk: Desk) -> None:
    await desk.ledger.record("r1", Draft(intent("a", "k"), AGENT))
    again = await desk.reopened()
    with pytest.raises(AlreadyClaimed) as caught:
        await again.ledger.record("r1", Draft(intent("b", "k"), AGENT))
    assert caught.value.seq == 2
    await again.shut()


# --- faults ----------------------------------------------------------------------------------------------------------


async def test_a_write_that_fails_and_is_not_stored(tmp_path: Path) -> None:
    desk = await opened_in_memory(tmp_path)
    first(desk).faults.append("before")
    with pytest.raises(LedgerUnavailable):
        await desk.ledger.record("r1", Draft(intent("a", "k"), AGENT))
    assert desk.ledger.fault and desk.ledger.head == 1
    (event,) = await desk.ledger.record("r1", Draft(intent("a", "k"), AGENT))
    assert event.seq == 2 and desk.ledger.fault == ""
    await check_log_of(desk)


async def test_a_write_that_fails_after_it_was_stored(tmp_path: Path) -> None:
    desk = await opened_in_memory(tmp_path)
    first(desk).faults.append("after")
    with pytest.raises(LedgerUnavailable):
        await desk.ledger.record("r1", Draft(intent("a", "k"), AGENT))
    # It is there all the same: a repeat finds the claim taken, and followers are told of it without a further write.
    assert [event.seq for event in await followed(desk, after=1, count=1)] == [2]
    run = await desk.ledger.run("r1")
    assert run is not None and run.tool_calls == 1
    with pytest.raises(AlreadyClaimed):
        await desk.ledger.record("r1", Draft(intent("a", "k"), AGENT))
    assert desk.ledger.fault, "a refusal shows nothing about the disk"
    (event,) = await desk.ledger.record("r1", Draft(note()))
    assert event.seq == 3 and desk.ledger.fault == ""
    await check_log_of(desk)


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_faults_among_many_callers_lose_nothing_that_was_answered(tmp_path: Path, fault: str) -> None:
    desk = await opened_in_memory(tmp_path)
    answered: list[Event] = []
    for turn in range(20):
        if turn % 3 == 0:
            first(desk).faults.append(fault)  # type: ignore[arg-type]
        drafts = [desk.ledger.record("r1", Draft(note(f"{turn}/{number}"))) for number in range(8)]
        for result in await asyncio.gather(*drafts, return_exceptions=True):
            if isinstance(result, tuple):
                answered += result
    stored = {event.id: event.seq for event in await all_events(desk)}
    assert all(stored[event.id] == event.seq for event in answered)
    assert len(answered) >= 8 * 13
    await check_log_of(desk)


async def opened_in_memory(tmp_path: Path) -> Desk:
    desk = _desk("memory", tmp_path / "helm.db")
    await desk.ledger.record("_sys", Draft(opened()))
    await desk.ledger.record("r1", Draft(created(1), ANA))
    return desk


async def test_a_closed_ledger_refuses(desk: Desk) -> None:
    await desk.ledger.close()
    with pytest.raises(LedgerUnavailable):
        await desk.ledger.record("r1", Draft(note()))
    await desk.ledger.close()


async def test_what_was_accepted_before_the_close_is_written(desk: Desk) -> None:
    asked = [asyncio.ensure_future(desk.ledger.record("r1", Draft(note(f"{n}")))) for n in range(300)]
    await asyncio.sleep(0)
    await desk.ledger.close()
    assert len(await asyncio.gather(*asked)) == 300


async def test_a_ledger_that_never_started_can_be_closed(tmp_path: Path) -> None:
    store = MemoryStore()
    ledger = Ledger(Chain(LOG, SIGNER, 0, "boot"), store, MemoryReader(store), StepClock())
    await ledger.close()


async def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    store = MemoryStore()
    ledger = Ledger(Chain(LOG, SIGNER, 0, "boot"), store, MemoryReader(store), StepClock())
    waiting = [asyncio.ensure_future(ledger.record("_sys", Draft(opened()))) for _ in range(10_000)]
    await asyncio.sleep(0)
    with pytest.raises(LedgerUnavailable, match="too many"):
        await ledger.record("_sys", Draft(opened()))
    ledger.start()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(result, tuple) for result in results) == 1
    await ledger.close()


async def test_a_caller_that_gives_up_does_not_stop_the_others(desk: Desk) -> None:
    asked = [asyncio.ensure_future(desk.ledger.record("r1", Draft(note(f"{n}")))) for n in range(20)]
    await asyncio.sleep(0)
    for task in asked[::2]:
        task.cancel()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(result, tuple) for result in results) == 10
    await desk.ledger.record("r1", Draft(note()))


# --- following -------------------------------------------------------------------------------------------------------


async def followed(desk: Desk, after: int, count: int, run: str = "") -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(20), aclosing(desk.ledger.follow(after, run)) as pages:
        async for page in pages:
            found += page
            if len(found) >= count:
                return found
    return found


async def test_a_follower_that_is_cut_fifty_times_has_the_whole_log(desk: Desk) -> None:
    async def write() -> None:
        for start in range(0, 2_000, 20):
            await asyncio.gather(*[desk.ledger.record("r1", Draft(note(f"{start + n}"))) for n in range(20)])

    writer = asyncio.create_task(write())
    seen: list[Event] = []
    cuts = 0
    async with asyncio.timeout(60):
        while len(seen) < 2_002:
            cuts += 1
            async with aclosing(desk.ledger.follow(seen[-1].seq if seen else -1)) as pages:
                async for page in pages:
                    seen += page[:40]
                    if page:
                        break
    await writer
    assert cuts >= 50 and [event.seq for event in seen] == list(range(2_002))
    assert [event.id for event in seen] == [event.id for event in await all_events(desk)]


async def test_a_follower_of_one_run_sees_that_run(desk: Desk) -> None:
    await desk.ledger.record("r2", Draft(created(2)))
    for number in range(30):
        await desk.ledger.record("r1" if number % 3 else "r2", Draft(note(f"{number}")))
    found = await followed(desk, -1, 11, "r2")
    assert len(found) == 11 and {event.run for event in found} == {"r2"}


async def test_a_follower_wakes_for_what_comes(desk: Desk) -> None:
    follower = asyncio.create_task(followed(desk, 1, 1))
    await asyncio.sleep(0)
    (event,) = await desk.ledger.record("r1", Draft(note("news")))
    assert [seen.id for seen in await follower] == [event.id]


async def test_large_contents_are_not_held_in_memory(desk: Desk) -> None:
    big = "x" * 262_144
    for _ in range(200):
        await desk.ledger.record("r1", Draft(note(big)))
    assert desk.ledger.remembered_bytes <= 33 * 1_048_576
    found = await followed(desk, -1, 202)
    assert [event.seq for event in found] == list(range(202))


async def test_errors_are_the_callers_kind(desk: Desk) -> None:
    with pytest.raises(HelmError):
        await desk.ledger.record("nowhere", Draft(note()))
    assert await desk.ledger.record("r1") == ()

"""What a decision costs in the ledger: intent, verdict and dispatch, durable, beside one raw commit of the same bytes;
what an append costs in a small log and in a large one; and how fast a log is checked, beside bare signature checks.

Run as `python -m tests.bench.bench_ledger`; under 40 seconds; prints figures, asserts nothing.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from app.adapters.clock import SystemClock
from app.adapters.sqlite.check import check_log
from app.adapters.sqlite.reader import SqliteReader
from app.adapters.sqlite.store import SqliteStore
from app.domain.chain import Chain, Moment
from app.domain.events import Draft, Local
from app.domain.fold import evolve
from app.domain.logcheck import check_lines
from app.domain.payloads import TurnStarted
from app.domain.receipt import PAYLOAD_TYPE, POLICY, parse
from app.domain.signing import Verifier, pae
from app.domain.times import text_of
from app.ports import Batch
from app.services.ledger import Ledger

from tests.log_kit import AGENT, LOG, SIGNER, TRUSTED, created, dispatch, intent, opened, sealed_args, verdict

SECONDS = 3.0
LARGE = 100_000
FILL_SECONDS = 15.0
FAR_MS = 4_000_000_000_000


def show(name: str, times: list[float], seconds: float, unit: str = "") -> None:
    times.sort()
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99) - 1]
    print(f"{name:<46} p50 {p50 * 1e6:8.0f} us   p99 {p99 * 1e6:8.0f} us   {len(times) / seconds:8.0f}/s{unit}")


def raw_commit(folder: Path) -> None:
    """Three rows of 1.5 KB in one transaction, WAL, synchronous=FULL: the floor."""
    db = sqlite3.connect(folder / "raw.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, line BLOB)")
    rows, times = [(os.urandom(1_500),)] * 3, []
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS / 2:
        start = time.perf_counter()
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO t(line) VALUES(?)", rows)
        db.execute("COMMIT")
        times.append(time.perf_counter() - start)
    show("one raw commit of three rows", times, time.perf_counter() - began)
    db.close()


@asynccontextmanager
async def ledger_at(path: Path) -> AsyncIterator[Ledger]:
    store, reader = SqliteStore(path), SqliteReader(path)
    ledger = Ledger(Chain(LOG, SIGNER, 0, "boot"), store, reader, SystemClock())
    ledger.start()
    if ledger.head < 0:
        await ledger.record("_sys", Draft(opened()))
        await ledger.record("r1", Draft(created(1)))
    try:
        yield ledger
    finally:
        await ledger.close()
        reader.close()
        store.close()


def decision(id: str) -> list[Draft]:
    args = sealed_args(id)
    refs = {"intent": Local(0), "verdict": Local(1)}
    return [
        Draft(intent(id, args=args), AGENT),
        Draft(verdict(id, "ALLOW", FAR_MS), POLICY, {"intent": Local(0)}),
        Draft(dispatch(id, args.digest), refs=refs),
    ]


async def timed(callers: int, seconds: float, work: Callable[[int], Awaitable[object]]) -> tuple[list[float], float]:
    times: list[float] = []
    began, number = time.perf_counter(), 0

    async def call() -> None:
        nonlocal number
        while time.perf_counter() - began < seconds:
            number += 1
            start = time.perf_counter()
            await work(number)
            times.append(time.perf_counter() - start)

    await asyncio.gather(*[call() for _ in range(callers)])
    return times, time.perf_counter() - began


async def decisions(folder: Path) -> None:
    for callers in (1, 8, 64):
        # Each run has few open actions, as runs have; a new run for each caller count.
        async with ledger_at(folder / f"c{callers}" / "helm.db") as ledger:
            for run in range(2, 2 + callers):
                await ledger.record(f"r{run}", Draft(created(run)))
            times, seconds = await timed(callers, SECONDS, _decide(ledger, callers))
            show(f"intent+verdict+dispatch, {callers} callers", times, seconds)


def _decide(ledger: Ledger, callers: int) -> Callable[[int], Awaitable[object]]:
    async def work(number: int) -> None:
        await ledger.record(f"r{2 + number % callers}", *decision(f"act{number}"))

    return work


def fill(path: Path, count: int) -> int:
    """Append until the log has `count` receipts or the time is up, many to a commit; how many there are."""
    store = SqliteStore(path)
    chain = Chain(LOG, SIGNER, 0, "boot", store.frontier())
    head, run = store.head("r1"), store.fold("r1")
    clock, began = SystemClock(), time.perf_counter()
    while chain.size < count and time.perf_counter() - began < FILL_SECONDS:
        moment = Moment(text_of(clock.now_ms()), clock.mono_ns())
        drafts = [Draft(TurnStarted(turn)) for turn in range(min(500, count - chain.size))]
        sealed = chain.extend("r1", head, drafts, moment, clock.entropy)
        head = chain.heads["r1"]
        for entry in sealed:
            run = evolve(run, entry.event).run
        store.write(Batch(sealed=sealed, runs={"r1": run} if run is not None else {}))
    size = chain.size
    store.close()
    return size


async def append_cost(folder: Path) -> None:
    path = folder / "grown" / "helm.db"
    for target in (1_000, LARGE):
        async with ledger_at(path):
            pass
        size = fill(path, target)
        async with ledger_at(path) as ledger:
            times, seconds = await timed(1, SECONDS / 2, lambda number: ledger.record("r1", Draft(TurnStarted(number))))
            show(f"append of one receipt at {size:,}", times, seconds)


def checking(folder: Path) -> None:
    home = folder / "c64"
    db = sqlite3.connect(home / "helm.db")
    lines = [line for (line,) in db.execute("SELECT line FROM receipt ORDER BY seq LIMIT 12000")]
    db.close()
    key = Verifier.of(SIGNER.public)
    receipts = [parse(line) for line in lines]
    messages = [(pae(PAYLOAD_TYPE, receipt.inner), receipt.signature) for receipt in receipts]
    rate("bare signature checks", len(lines), lambda: [key.verifies(*message) for message in messages])
    rate("parsing receipts", len(lines), lambda: [parse(line) for line in lines])
    rate("checking lines (logcheck)", len(lines), lambda: check_lines(lines, TRUSTED))
    size = sqlite3.connect(home / "helm.db").execute("SELECT count(*) FROM receipt").fetchone()[0]
    rate("checking the file (verify-log)", size, lambda: check_log(home, keys=TRUSTED))
    print(f"largest memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


def rate(name: str, count: int, work: Callable[[], object]) -> None:
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    print(f"{name:<46} {seconds / count * 1e6:8.1f} us each             {count / seconds:8.0f}/s")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for home in ("c1", "c8", "c64", "grown"):
            (folder / home).mkdir()
        raw_commit(folder)
        asyncio.run(decisions(folder))
        asyncio.run(append_cost(folder))
        checking(folder)


if __name__ == "__main__":
    main()

"""What does not grow with the log and what does: the price of an append, the check of the log offline, the start of the
server, at 10^3, 10^4, 10^5 and 10^6 receipts. The logs are written by the ledger itself and are gone afterwards.

Run as `python -m tests.bench.bench_growth`; some five minutes, `--quick` (to 10^5) under one; asserts nothing.
"""

from __future__ import annotations

import asyncio
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from app.adapters.clock import SystemClock
from app.adapters.file_marks import WorkspaceMarks
from app.adapters.keys import signer
from app.adapters.sqlite.check import check_log
from app.adapters.sqlite.connection import open_reader
from app.domain.events import Draft
from app.domain.logcheck import LogCheck
from app.domain.payloads import TurnStarted
from app.domain.receipt import PAYLOAD_TYPE, parse
from app.domain.signing import pae
from app.domain.verdict import Grade
from app.services.asks import Ask
from app.services.gate import Gate
from app.services.ledger import Ledger
from nacl.signing import VerifyKey

from tests.bench.kit import Report, ms, p50, p99, rss_of, run, times, us
from tests.bench.logs import AGENT, grow, open_run, opened
from tests.cli.kit import HELM, ROOT, environment
from tests.house import LIBRARY

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
ROUNDS: Final = 15
EACH: Final = 20
STARTS: Final = 3
BUILD_S: Final = 130
CHECK_S: Final = 100


async def build(report: Report, folder: Path, sizes: tuple[int, ...]) -> dict[int, Path]:
    """One log that grows, and a copy of it at every size."""
    homes: dict[int, Path] = {}
    number, growing = 0, folder / "growing"
    with report.table("writing the logs through the ledger, 250 receipts a commit", "took", "receipts/s", "on disk"):
        for size in sizes:
            began = time.perf_counter()
            async with opened(growing) as log:
                before = log.ledger.head + 1
                number = await grow(log.ledger, size, number, time.monotonic() + BUILD_S)
                there = log.ledger.head + 1
            took = time.perf_counter() - began
            # Where the machine is too busy for the whole of it, the log that there is stands for itself.
            reached = size if there > 0.9 * size else there // 1_000 * 1_000
            homes[reached] = folder / str(reached)
            shutil.copytree(growing, homes[reached])
            disk = (homes[reached] / "helm.db").stat().st_size / 1e6
            report.row(f"{before:,} to {there:,}", ms(took), f"{(there - before) / took:,.0f}", f"{disk:,.0f} MB")
        shutil.rmtree(growing)
    return homes


# --- append ----------------------------------------------------------------------------------------------------------


class Lane:
    """A log of one size, opened, and what appending to it took."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.gate = Gate(ledger, LIBRARY, SystemClock(), WorkspaceMarks(Path("/nowhere")))
        self.single: list[float] = []
        self.verdict: list[float] = []
        self.spent: list[float] = []
        self.run, self.count = "", 0

    async def round(self) -> None:
        """Some appends of each kind."""
        spent = time.process_time()
        for _ in range(EACH):
            self.count += 1
            began = time.perf_counter()
            await self.ledger.record(self.run, Draft(TurnStarted(self.count), AGENT))
            middle = time.perf_counter()
            args = {"file_path": f"/root/.ssh/id_{self.count}"}
            await self.gate.perform(Ask(self.run, "tool", "Read", args, f"t{self.count}", "runner", Grade.COOPERATIVE))
            self.single.append(middle - began)
            self.verdict.append(time.perf_counter() - middle)
        self.spent.append((time.process_time() - spent) / EACH)


async def append(report: Report, homes: dict[int, Path]) -> None:
    """All sizes open at once and asked in turn."""
    columns = ("1 receipt", "p99", "verdict", "p99", "CPU of both", "best CPU")
    with report.table("cost with log size: one client, durable, logs asked in turn", *columns):
        async with AsyncExitStack() as stack:
            lanes = {size: Lane((await stack.enter_async_context(opened(home))).ledger) for size, home in homes.items()}
            for lane in lanes.values():
                lane.run = await open_run(lane.ledger, await _runs(lane.ledger) + 1)
                await lane.round()
                lane.single, lane.verdict, lane.spent = [], [], []
            for _ in range(5 if report.quick else ROUNDS):
                for lane in lanes.values():
                    await lane.round()
        for size, lane in lanes.items():
            cells = ms(p50(lane.single)), ms(p99(lane.single)), ms(p50(lane.verdict)), ms(p99(lane.verdict))
            report.row(f"{size:,} receipts", *cells, us(p50(lane.spent)), us(min(lane.spent)))
    small, large = lanes[min(lanes)], lanes[max(lanes)]
    ratio, verdicts = p50(large.single) / p50(small.single), p50(large.verdict) / p50(small.verdict)
    cpu = min(large.spent) / min(small.spent)
    told = f"{times(ratio)} (a verdict {times(verdicts)}, CPU {times(cpu)}) at {max(lanes):,}"
    report.goal("append with log size", "10^6 <= 1.1x of 10^3", told, ratio <= 1.1 if max(lanes) >= 500_000 else None)


async def _runs(ledger: Ledger) -> int:
    return (await ledger.read.counts())["all"]


# --- offline check ---------------------------------------------------------------------------------------------------


def pieces(home: Path) -> dict[str, Callable[[], int]]:
    """The check, and what it is made of, over the same lines; each says how many receipts it went through."""
    key = VerifyKey(signer(home / "keys", "receipt-0").public)
    db = open_reader(home / "helm.db")
    lines = [(seq, line) for seq, line in db.execute("SELECT seq, line FROM receipt ORDER BY seq LIMIT 10000")]
    db.close()
    held = [(pae(PAYLOAD_TYPE, receipt.inner), receipt.signature) for receipt in (parse(line) for _, line in lines)]

    def alone() -> int:
        return sum(bool(key.verify(message, signature)) for message, signature in held)

    def pure() -> int:
        check = LogCheck(frozenset({bytes(key)}))
        return sum(check.feed(seq, line) is not None for seq, line in lines)

    return {
        "pynacl verify alone": alone,
        "parse alone": lambda: sum(parse(line).seq >= 0 for _, line in lines),
        "rules without the file": pure,
    }


def verify(report: Report, homes: dict[int, Path]) -> None:
    """Receipts per second and memory of the check, each in a process of its own."""
    with report.table("offline check of the log, one core", "took", "receipts/s", "peak memory"):
        small = next(home for size, home in homes.items() if size >= 10_000)
        floor = 0.0
        for name, work in pieces(small).items():
            spans = []
            for _ in range(3):
                began = time.process_time()
                count = work()
                spans.append(time.process_time() - began)
            floor = floor or count / min(spans)
            report.row(f"{name}, {count:,}", ms(min(spans)), f"{count / min(spans):,.0f}", note="CPU time, best of 3")
        rates, peaks, pace = {}, {}, math.inf
        for size, home in homes.items():
            if size > pace * CHECK_S:
                report.say(f"{size:,} receipts would take more than {CHECK_S} s on this busy machine: left out")
                continue
            words = [sys.executable, "-m", "tests.bench.bench_growth", "--check", str(home)]
            told = json.loads(subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=250).stdout)
            pace = told["receipts"] / told["wall"]
            rates[size], peaks[size] = told["receipts"] / told["cpu"], told["peak"]
            note = f"{told['cpu']:.1f} s of CPU; {told['errors']} errors"
            report.row(
                f"helm's check of helm.db, {size:,}",
                ms(told["wall"]),
                f"{rates[size]:,.0f}",
                f"{peaks[size]:.0f} MiB",
                note=note,
            )
    large = max(rates)
    told = f"{rates[large]:,.0f}/s of CPU at {large:,} (pynacl {times(floor / rates[large])}), {peaks[large]:.0f} MiB"
    flat = peaks[large] < 1.3 * peaks[10_000]
    report.goal("offline verify", ">= 10,000 receipts/s, memory flat", told, rates[large] >= 10_000 and flat)


def check(home: Path) -> None:
    """The check in this process; its figures as JSON."""
    began, cpu = time.perf_counter(), time.process_time()
    found = check_log(home)
    spent = {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**spent, "receipts": found.receipts, "errors": sum(found.error_counts.values()), "peak": peak}))


# --- start -----------------------------------------------------------------------------------------------------------


def start(report: Report, homes: dict[int, Path], folder: Path) -> None:
    """From the command to the line that says that it serves, on an empty folder and on each log."""
    lanes = {0: folder / "none"} | homes
    (folder / "none").mkdir(mode=0o700)
    took: dict[int, list[float]] = {size: [] for size in lanes}
    memory: dict[int, float] = {}
    with report.table("server start: command to serving", "median", "best", "memory"):
        for _ in range(STARTS):
            for size, home in lanes.items():
                spent, memory[size] = _start(home)
                took[size].append(spent)
        for size, spans in took.items():
            report.row(
                f"{size:,} receipts" if size else "empty", ms(p50(spans)), ms(min(spans)), f"{memory[size]:.0f} MiB"
            )
    large = max(took)
    told = f"{ms(p50(took[large]))} at {large:,} (empty {ms(p50(took[0]))})"
    report.goal("server start", "10^6 receipts < 3 s", told, p50(took[large]) < 3 if large >= 500_000 else None)


def _start(home: Path) -> tuple[float, float]:
    began = time.perf_counter()
    with (
        (home.parent / "server.log").open("ab") as log,
        subprocess.Popen(
            [*HELM, "serve", "--json"],
            env=environment(home, HELM_PORT="0"),
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
        ) as server,
    ):
        assert server.stdout is not None
        line = server.stdout.readline()
        took = time.perf_counter() - began
        memory = rss_of(server.pid) if line else 0.0
        server.terminate()
    if not line:
        raise RuntimeError((home.parent / "server.log").read_text()[-1_000:])
    return took, memory


def measure(report: Report) -> None:
    """What grows with the log."""
    sizes = SIZES[:-1] if report.quick else SIZES
    with tempfile.TemporaryDirectory(prefix="helm-growth-") as name:
        folder = Path(name)
        homes = asyncio.run(build(report, folder, sizes))
        asyncio.run(append(report, homes))
        start(report, homes, folder)
        verify(report, homes)


if __name__ == "__main__":
    check(Path(sys.argv[2])) if sys.argv[1:2] == ["--check"] else run(measure)

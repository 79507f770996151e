"""What a verdict costs: in process, and end to end over HTTP with durable receipts, beside an empty handler of the same
server, beside one commit, and beside the same path without policy, signature or fsync.

Run as `python -m tests.bench.bench_gate`; about a minute; prints figures, asserts nothing. All servers are up at once
and are asked in turn, round after round, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import uvloop
from app.adapters.file_marks import WorkspaceMarks
from app.domain.chain import Chain, Moment
from app.domain.ids import run_id
from app.domain.policy import decide
from app.domain.run import Run
from app.domain.signing import Signer
from app.domain.standing import Standing
from app.domain.verdict import Grade, Request, RunFacts
from app.services.asks import Ask
from app.services.gate import Gate

from tests.bench.kit import Report, cpu_of, ms, p50, p99, run, times, us
from tests.bench.stages import NoSigner, Server, stage
from tests.bench.watching import Watchers
from tests.house import LIBRARY, HandClock

ROUNDS: Final = 3
SECONDS: Final = 0.7
CLIENTS: Final = (1, 8, 64)
VARIANTS: Final = ("full", "no policy", "no signature", "no fsync")
WATCHERS: Final = 100
PAD: Final = "x" * 850


class Asker(asyncio.Protocol):
    """One client on a kept connection: asks, reads the answer, asks again. Costs some 15 us a request."""

    def __init__(self, next_request: Callable[[], bytes], until: float, spent: list[float]) -> None:
        self._next, self._until, self._spent = next_request, until, spent
        self._held = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        data = self._next()
        self._began = time.perf_counter()
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, gap, body = self._held.partition(b"\r\n\r\n")
        if not gap:
            return
        at = head.lower().index(b"content-length:")
        if len(body) < int(head[at + 15 :].split(b"\r", 1)[0]):
            return
        now, self._held = time.perf_counter(), b""
        self._spent.append(now - self._began)
        if b" 200 " not in head[:16]:
            self._fail(RuntimeError(head[:200].decode()))
        elif now < self._until:
            self._ask()
        else:
            self._fail(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionError("the server hung up"))

    def _fail(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error) if error is not None else self.done.set_result(None)
        self._transport.close()


@dataclass
class Load:
    """What one number of clients got from one server, over all rounds."""

    halves: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)

    def add(self, took: list[float], seconds: float, cpu: float) -> None:
        self.halves.append(p50(took))
        self.tails.append(p99(took))
        self.rates.append(len(took) / seconds)
        self.spent.append(cpu / len(took))

    def cells(self) -> tuple[str, ...]:
        best = f"{max(self.rates):.0f}/s"
        found = ms(p50(self.halves)), ms(min(self.halves)), ms(p50(self.tails)), f"{p50(self.rates):.0f}/s", best
        return (*found, us(min(self.spent)))


def requests(server: Server, target: str, mark: str) -> Iterator[bytes]:
    """Hooks that the policy denies (so that no call stays open), each a call of its own with 1 KB of arguments."""
    head = f"POST {target} HTTP/1.1\r\nhost: helm\r\nx-helm-run: {server.run}\r\ncontent-type: application/json\r\n"
    for n in range(10**9):
        body = (
            f'{{"tool_name":"Read","tool_input":{{"file_path":"/root/.ssh/id_{n}","note":"{PAD}"}},'
            f'"tool_use_id":"{mark}-{n}","cwd":"/workspace"}}'
        )
        yield f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


async def ask(server: Server, feed: Iterator[bytes], clients: int, seconds: float) -> tuple[list[float], float]:
    """The times of all requests, and the CPU seconds of the server meanwhile."""
    loop, spent = asyncio.get_running_loop(), list[float]()
    before, until = cpu_of(server.pid), time.perf_counter() + seconds
    made = [
        await loop.create_unix_connection(lambda: Asker(feed.__next__, until, spent), server.gate)
        for _ in range(clients)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    return spent, cpu_of(server.pid) - before


def _rounds(lanes: dict[str, tuple[Server, str]], rounds: int) -> dict[tuple[str, int], Load]:
    found = {(name, clients): Load() for name in lanes for clients in CLIENTS}
    for turn in range(rounds + 1):
        for (name, clients), load in found.items():
            server, target = lanes[name]
            feed = requests(server, target, f"{turn}-{clients}-{name}".replace(" ", ""))
            seconds = SECONDS if turn else 0.1
            took, cpu = uvloop.run(ask(server, feed, clients, seconds))
            if turn:  # the first round only warms up
                load.add(took, seconds, cpu)
    return found


def _end_to_end(report: Report) -> None:
    columns = ("p50", "best p50", "p99", "rate", "best rate", "CPU", "of full")
    title = "verdict end to end: HTTP keep-alive, 1 KB arguments, three receipts, synchronous=FULL; CPU of the server"
    with ExitStack() as stack:
        servers = {name: stack.enter_context(stage(name)) for name in VARIANTS}
        floor = servers["full"]
        lanes = {"empty handler": (floor, "/empty"), "one commit": (floor, "/commit")}
        lanes |= {name: (server, "/gate") for name, server in servers.items()}
        with report.table(title, *columns):
            found = _rounds(lanes, 1 if report.quick else ROUNDS)
            for clients in CLIENTS:
                full = min(found["full", clients].halves)
                for name in lanes:
                    load = found[name, clients]
                    report.row(f"{name}, {clients} clients", *load.cells(), times(min(load.halves) / full))
        _goals(report, found)
        _watched(report, floor)


def _goals(report: Report, found: dict[tuple[str, int], Load]) -> None:
    empty, commit, full = (min(found[name, 1].halves) for name in ("empty handler", "one commit", "full"))
    fsync = max(0.0, commit - empty)
    allowed = 4 * empty + fsync
    met = None if report.quick else full < allowed  # one round of a disk that others use is no floor
    told = f"{ms(full)} (empty {ms(empty)}, commit {ms(fsync)}: {full / allowed:.1f}x of what is allowed)"
    report.goal("verdict end to end, p50 at 1 client", f"< 4 x empty + one commit = {ms(allowed)}", told, met)
    tail = min(found["full", 1].tails)
    report.goal("verdict end to end, p99 at 1 client", "< 3 ms", ms(tail), tail < 0.003)
    most = found["full", 64]
    share = max(found["empty handler", 64].rates) / max(most.rates)
    told = f"{max(most.rates):.0f}/s, an empty handler {times(share)} as many"
    report.goal("verdicts at 64 clients", ">= 4,500/s", told, max(most.rates) >= 4_500)
    report.goal("verdict p99 at 64 clients", "< 30 ms", ms(min(most.tails)), min(most.tails) < 0.030)


def _watched(report: Report, server: Server) -> None:
    """The same with a hundred people looking on."""
    alone, looked = Load(), Load()
    with (
        Watchers(server, WATCHERS) as watchers,
        report.table(
            f"the same, 64 clients, {WATCHERS} JSON subscribers on the log",
            "p50",
            "best p50",
            "p99",
            "rate",
            "best rate",
            "CPU",
        ),
    ):
        for turn in range(2):
            took, cpu = uvloop.run(ask(server, requests(server, "/gate", f"w{turn}"), 64, 1.5))
            looked.add(took, 1.5, cpu)
        frames = watchers.stop()
        report.row(f"{WATCHERS} watching", *looked.cells(), note=f"{sum(map(len, frames)) / 3:.0f} frames/s to them")
        for turn in range(2):
            took, cpu = uvloop.run(ask(server, requests(server, "/gate", f"a{turn}"), 64, 1.5))
            alone.add(took, 1.5, cpu)
        report.row("nobody watching", *alone.cells())
    best = max(looked.rates)
    told = f"{best:.0f}/s, {times(best / max(alone.rates))} of nobody watching"
    report.goal(f"verdicts at 64 clients while {WATCHERS} watch", ">= 3,500/s", told, best >= 3_500)


# --- in process ------------------------------------------------------------------------------------------------------


def _in_process(report: Report) -> None:
    bundle = LIBRARY.bundles_by_name["default"]
    request = Request(tool="Read", args=_args(0), run=RunFacts("r"), now="2026-11-21T00:00:00.000Z")
    shell = replace(request, tool="Bash", args={"command": "python3 -m pytest -q && git status", "note": PAD})
    gate = Gate(None, LIBRARY, HandClock(), WorkspaceMarks(Path("/nowhere")))  # type: ignore[arg-type]
    signed = Chain("helm.local/log/x", Signer.of(b"h" * 32), 0, "boot")
    unsigned = Chain("helm.local/log/x", NoSigner(signed.signer), 0, "boot")  # type: ignore[arg-type]
    lanes: dict[str, Callable[[int], object]] = {
        f"policy alone, {len(bundle.rules)} rules": lambda n: decide(bundle, request),
        "policy alone, a shell command (parsed)": lambda n: decide(bundle, shell),
        "intent + verdict + outcome, signed, chained": lambda n: _sealed(gate, signed, n),
        "the same without signing": lambda n: _sealed(gate, unsigned, n),
    }
    with report.table(
        f"verdict in process, {len(bundle.rules)} rules, 1 KB of arguments, no fsync", "p50", "p99", "ratio"
    ):
        found = _in_turn(lanes, 400 if report.quick else 1_500)
        whole = next(name for name in found if name.startswith("intent"))
        for name, took in found.items():
            report.row(name, us(p50(took)), us(p99(took)), times(p50(took) / p50(found[whole])))
    told = f"p50 {us(p50(found[whole]))}, p99 {us(p99(found[whole]))}"
    met = p50(found[whole]) < 0.00035 and p99(found[whole]) < 0.001
    report.goal("verdict in process, signed and chained", "p50 < 0.35 ms, p99 < 1 ms", told, met)


def _in_turn(lanes: dict[str, Callable[[int], object]], count: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in lanes}
    for n in range(-50, count):
        for name, work in lanes.items():
            began = time.perf_counter()
            work(n)
            if n >= 0:
                found[name].append(time.perf_counter() - began)
    return found


def _args(n: int) -> dict[str, Any]:
    return {"file_path": f"/root/.ssh/id_{n}", "note": PAD}


_RUN: Final = Run(
    id=run_id(0, b"r" * 10),
    no=1,
    title="bench",
    agent="lead",
    model="m",
    blueprint="market-brief",
    blueprint_digest="",
    policy="default",
    policy_digest="",
    budget_micro=10**9,
    opened_seq=0,
    opened_ts="2026-11-21T00:00:00.000Z",
    by="ana",
    last_seq=0,
    last_ts="2026-11-21T00:00:00.000Z",
    run_seq=0,
)


def _sealed(gate: Gate, chain: Chain, n: int) -> object:
    """Judge one call and seal what the ledger would write of it."""
    asked = Ask(_RUN.id, "tool", "Read", _args(n), f"t{n}", "runner", Grade.COOPERATIVE)
    drafts = gate._drafts(asked, gate.judge.decide(_RUN, asked, Standing()))
    at = Moment("2026-11-21T00:00:00.000Z", 50 + n)
    return chain.extend(_RUN.id, chain.heads.get(_RUN.id), drafts, at, HandClock().entropy)


def measure(report: Report) -> None:
    """What a verdict costs."""
    _in_process(report)
    _end_to_end(report)


if __name__ == "__main__":
    run(measure)

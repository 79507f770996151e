"""A Helm without Docker in a process of its own, served as `helm serve` serves it: gateway on a socket, dashboard on a
port, uvloop, collector frozen. The benchmark that started it tells it what to record, over a pipe."""

from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import uvloop
from app.adapters.listeners import listener, stopped, tcp_socket, unix_socket, until_started
from app.adapters.passwords import Argon2Passwords
from app.adapters.people import SqlitePeople
from app.adapters.policies import PolicyLibrary
from app.adapters.sqlite import connection as sqlite_connection
from app.domain.content import Content
from app.domain.events import Draft
from app.domain.payloads import RunNoted, TurnStarted
from app.domain.reasons import Reason
from app.domain.receipt import Actor
from app.domain.verdict import Verdict
from app.gateway.app import create_gateway_app
from app.services.people import PeopleDesk
from app.web.app import create_web_app
from litestar import Litestar, WebSocket, get, post, websocket
from litestar.response import Response

from tests.bench.logs import group
from tests.faces.web_world import QUICK, WebWorld, settings_for
from tests.house import LIBRARY, House, house

AGENT: Final = Actor("agent", "runner", "agent")
STEP_S: Final = 0.01
PLAIN: Final = """<!doctype html><script src="/htmx.js"></script><script src="/ws.js"></script>
<body hx-ext="ws" ws-connect="/plain"><ol id="list"></ol>"""


@dataclass
class Stage:
    """The server's side: a house, its faces, and the run that everything is recorded in."""

    house: House
    web: WebWorld
    run: str
    plain: set[Any] = field(default_factory=set)

    async def bearer(self) -> str:
        """What a program says to be let in."""
        return str((await self.web.program()).headers["authorization"])

    async def cookies(self) -> dict[str, str]:
        """What a signed-in browser holds."""
        return dict((await self.web.browser()).cookies)

    async def turns(self, seconds: float, rate: int) -> list[tuple[int, int]]:
        """Record `rate` small events a second, some at once every 10 ms; (last seq, when it was asked for) of each."""
        size = max(1, int(rate * STEP_S))
        began, steps = time.perf_counter(), []
        for step in range(int(seconds / STEP_S)):
            await asyncio.sleep(max(0.0, began + step * STEP_S - time.perf_counter()))
            # Nobody waits for the one before: agents do not either.
            steps.append(asyncio.create_task(self._turn(step * size, size)))
        return list(await asyncio.gather(*steps))

    async def _turn(self, first: int, size: int) -> tuple[int, int]:
        at = time.monotonic_ns()
        drafts = [Draft(TurnStarted(1 + first + n), AGENT) for n in range(size)]
        return (await self.house.ledger.record(self.run, *drafts))[-1].seq, at

    async def notes(self, count: int, rate: int) -> list[int]:
        """Record one visible event after the other at a rate, and say it on the plain page too; when each was begun."""
        began, noted = time.perf_counter(), []
        for n in range(count):
            await asyncio.sleep(max(0.0, began + n / rate - time.perf_counter()))
            noted.append(time.time_ns())
            await self.house.ledger.record(self.run, Draft(RunNoted("info", Content.text(f"bench-{n:06d}")), AGENT))
        return noted

    async def plain_notes(self, count: int, rate: int) -> list[int]:
        """The same number of lines on the plain page, without a log."""
        began, noted = time.perf_counter(), []
        for n in range(count):
            await asyncio.sleep(max(0.0, began + n / rate - time.perf_counter()))
            noted.append(time.time_ns())
            text = f'<ol id="list" hx-swap-oob="beforeend"><li>bench-{n:06d}</li></ol>'
            for line in self.plain:
                await line.send_text(text)
        return noted

    async def fill(self, count: int) -> int:
        """Record this many events of a working agent; the last seq."""
        seq = -1
        for start in range(0, count, 250):
            drafts = [draft for at in range(start, min(start + 250, count), 10) for draft in group(at)]
            seq = (await self.house.ledger.record(self.run, *drafts))[-1].seq
        return seq


@post("/empty", status_code=200)
async def empty(data: dict[str, Any]) -> dict[str, Any]:
    """Parses a body, answers a body: the floor of the framework."""
    return {"ok": True}


def commit_route(folder: Path) -> Any:
    """The framework and one durable commit of a row on the loop: the floor of anything durable, at one client."""
    db = sqlite3.connect(folder / "floor.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE IF NOT EXISTS row(seq INTEGER PRIMARY KEY, data BLOB)")

    @post("/commit", status_code=200)
    async def commit(data: dict[str, Any]) -> dict[str, Any]:
        db.execute("INSERT INTO row(data) VALUES(?)", (b"x" * 4_000,))
        return {"ok": True}

    return commit


class NoSigner:
    """Signs nothing, for the figure of what signing costs."""

    def __init__(self, inner: Any) -> None:
        self.public, self.key_id = inner.public, inner.key_id

    def sign(self, message: bytes) -> bytes:
        return b"\0" * 64


def _library(variant: str) -> PolicyLibrary:
    if variant != "no policy":
        return LIBRARY
    bundle = LIBRARY.bundles_by_name["default"]
    # One rule without a condition, with the verdict that the whole bundle gives: no call stays open, and all variants
    # write the same receipts.
    rule = next(rule for rule in bundle.rules if rule.id == "read")
    denied = replace(rule, when=None, verdict=Verdict.DENY, reason=Reason.POLICY_DENIED)
    return replace(LIBRARY, bundles_by_name={"default": replace(bundle, rules=(denied,), _plans={})})


def _without_fsync() -> None:
    sqlite_connection._PRAGMAS = tuple(  # type: ignore[misc, assignment]
        ("synchronous", "OFF", 0) if name == "synchronous" else (name, value, expected)
        for name, value, expected in sqlite_connection._PRAGMAS
    )


def _plain_page(stage: Stage, extension: str) -> Litestar:
    htmx = next((Path(__file__).resolve().parents[2] / "static" / "vendor").glob("htmx-*.js")).read_text()

    @get(["/", "/htmx.js", "/ws.js"])
    async def page(request: Any) -> Response[str]:
        text = {"/": PLAIN, "/htmx.js": htmx, "/ws.js": extension}[request.url.path]
        return Response(text, media_type="text/html" if request.url.path == "/" else "text/javascript")

    @websocket("/plain")
    async def plain(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        stage.plain.add(socket)
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass

    return Litestar([page, plain], openapi_config=None)


async def _listen(stack: AsyncExitStack, app: Any, where: Any) -> None:
    server = listener(app)
    task = asyncio.create_task(server.serve(sockets=[where]))
    await until_started(server, task)
    stack.push_async_callback(stopped, server, task)


async def _serving(folder: Path, variant: str, extension: str, pipe: Connection) -> None:
    if variant == "no fsync":
        _without_fsync()
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(house(folder, slots=40, check=False, library=_library(variant)))
        if variant == "no signature":
            world.ledger._chain.signer = NoSigner(world.ledger._chain.signer)  # type: ignore[assignment]
        people = PeopleDesk(SqlitePeople(folder / "people.db"), Argon2Passwords(QUICK), world.clock)
        port, plain = tcp_socket("127.0.0.1", 0), tcp_socket("127.0.0.1", 0)
        base = f"http://127.0.0.1:{port.getsockname()[1]}"
        web = create_web_app(world.services, people, settings_for(origins=frozenset({base})))
        stage = Stage(world, WebWorld(world, people, web, base), (await world.start()).id)
        gateway = create_gateway_app(world.services)
        gateway.register(empty)
        gateway.register(commit_route(folder))
        await _listen(stack, gateway, unix_socket(folder / "gate.sock", 0o600))
        await _listen(stack, web, port)
        await _listen(stack, _plain_page(stage, extension), plain)
        gc.collect()
        gc.freeze()
        facts = {"run": stage.run, "base": base, "plain": f"http://127.0.0.1:{plain.getsockname()[1]}"}
        pipe.send(facts | {"gate": str(folder / "gate.sock")})
        await _obey(stage, pipe)


async def _obey(stage: Stage, pipe: Connection) -> None:
    while True:
        asked: tuple[str, tuple[Any, ...]] = await asyncio.to_thread(pipe.recv)
        if asked[0] == "stop":
            return
        work: Callable[..., Awaitable[Any]] = getattr(stage, asked[0])
        pipe.send(await work(*asked[1]))


def _process(folder: str, variant: str, extension: str, pipe: Connection) -> None:
    logging.disable(logging.WARNING)
    uvloop.install()
    asyncio.run(_serving(Path(folder), variant, extension, pipe))


@dataclass
class Server:
    """The benchmark's side of a stage."""

    pid: int
    run: str
    base: str
    plain: str
    gate: str
    pipe: Connection

    def ask(self, what: str, *given: Any) -> Any:
        """Let the server do something and wait for what it says."""
        self.begin(what, *given)
        return self.pipe.recv()

    def begin(self, what: str, *given: Any) -> None:
        """Let it do something; `pipe.recv` gives what it says."""
        self.pipe.send((what, given))


@contextmanager
def stage(variant: str = "full", extension: str = "") -> Iterator[Server]:
    """A server in a new folder, gone afterwards."""
    context = get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="helm-stage-") as folder:
        ours, theirs = context.Pipe()
        process = context.Process(target=_process, args=(folder, variant, extension, theirs))
        process.start()
        theirs.close()
        try:
            yield Server(process.pid or 0, **ours.recv(), pipe=ours)
            ours.send(("stop", ()))
            process.join(15)
        finally:
            process.kill()
            process.join(5)

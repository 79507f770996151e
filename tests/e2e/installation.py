"""A real `helm serve` that is killed and started again, and a client that remembers what it was told."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import httpx
from app.adapters.docker import Sandbox
from app.adapters.keys import signer
from app.adapters.sqlite.check import check_log
from app.adapters.sqlite.connection import open_reader
from app.domain.logcheck import LogCheck
from app.domain.logreport import LogReport
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.cli.kit import ROOT, clear_away, environment, free_port

T = TypeVar("T")
Json = dict[str, Any]
BOUND_S: Final = 60.0
LOST: Final = (OSError, httpx.TransportError, ConnectionClosed, InvalidHandshake, EOFError)
HELM: Final = (sys.executable, "-c", "from app.cli import main; main()", "serve", "--json")
_SPARE: Final = "import sys; from app.cli import main, serve; sys.stdin.readline(); main()"
SPARE: Final = (sys.executable, "-c", _SPARE, "serve", "--json")
"""The same program, its modules loaded while the life before it goes on; it begins when it is told to."""


@dataclass
class Installation:
    """One `$HELM_HOME` and the server process on it, if any. The port stays the same over its lives."""

    home: Path
    port: int
    log: Path
    more: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = HELM
    process: asyncio.subprocess.Process | None = None
    spare: asyncio.subprocess.Process | None = None
    lives: int = 0
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    _ready: asyncio.Task[bytes] | None = None

    async def spawn(self) -> None:
        """Start a server without waiting for it; the spare one where there is one."""
        process, self.spare = self.spare, None
        if process is None:
            process = await self._begin(self.command, asyncio.subprocess.DEVNULL)
        elif process.stdin is not None:
            process.stdin.write(b"begin\n")
        self.process = process
        assert process.stdout is not None
        self.lives += 1
        self._ready = asyncio.create_task(process.stdout.readline())

    async def prepare(self) -> None:
        """Let the next server load its modules already."""
        self.spare = self.spare or await self._begin(SPARE, asyncio.subprocess.PIPE)

    async def _begin(self, command: tuple[str, ...], given: int) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command,
                env=environment(self.home, HELM_PORT=str(self.port), **self.more),
                stdin=given,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
            )

    async def up(self, within: float = BOUND_S) -> bool:
        """Whether it announced itself within this time. A server that ended by itself fails the test."""
        assert self._ready is not None
        await asyncio.wait([self._ready], timeout=within)
        if not self._ready.done():
            return False
        assert self._ready.result(), f"the server did not start: {self.said()}"
        return True

    async def is_up_or_ended(self, within: float = BOUND_S) -> bool:
        """Whether it came up; False when it ended by itself first."""
        assert self._ready is not None and self.process is not None
        async with asyncio.timeout(within):
            if await self._ready:
                return True
            await self.process.wait()
            return False

    async def start(self) -> Client:
        """A server that takes requests, and its client."""
        await self.spawn()
        assert await self.up(), f"the server did not come up: {self.said()}"
        return self.client()

    def client(self) -> Client:
        """A client of the life that is on now."""
        facts = json.loads((self.home / "cli.json").read_text())
        assert self.process is not None and facts["pid"] == self.process.pid
        return Client(
            facts["url"],
            self.keep(
                httpx.AsyncClient(
                    base_url=facts["url"],
                    headers={"authorization": f"Bearer {facts['token']}"},
                    timeout=BOUND_S,
                    trust_env=False,
                )
            ),
        )

    def keep(self, client: httpx.AsyncClient) -> httpx.AsyncClient:
        """A client that is closed with the installation, at the latest."""
        self.clients.append(client)
        return client

    async def kill(self) -> None:
        """SIGKILL, and return when the kernel has taken it away."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        if self._ready is not None:
            await asyncio.wait([self._ready])

    async def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(BOUND_S):
            return await self.process.wait()

    def said(self) -> str:
        """The end of what the servers wrote to stderr."""
        return self.log.read_text(errors="replace")[-3_000:]

    def lines(self, after: int = -1) -> list[tuple[int, bytes]]:
        """The stored lines of the log behind `after`, read past the server."""
        with_rows = open_reader(self.home / "helm.db")
        try:
            return list(with_rows.execute("SELECT seq, line FROM receipt WHERE seq > ? ORDER BY seq", (after,)))
        finally:
            with_rows.close()

    def check(self) -> LogReport:
        """The whole check of the log."""
        return check_log(self.home)

    def running(self, module: str) -> list[int]:
        """Living processes of ours that run a module for this `$HELM_HOME`."""
        return [pid for pid in _pids() if module in _words(pid) and str(self.home) in (_words(pid) + _folder(pid))]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def _folder(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


class Client:
    """The REST API and the live socket of one life of the server."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self.url = url
        self._http = http

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str, **query: Any) -> Json:
        answer = await self._http.get(f"/api/v1{path}", params=query)
        answer.raise_for_status()
        return dict(answer.json())

    async def post(self, path: str, body: Json) -> httpx.Response:
        """Whatever was answered; a lost connection raises."""
        return await self._http.post(f"/api/v1{path}", json=body)

    async def healthz(self) -> int:
        return (await self._http.get("/healthz")).status_code

    async def events(self, run: str) -> list[Json]:
        """All events of a run."""
        found: list[Json] = []
        while page := (await self.get(f"/runs/{run}/events", after=found[-1]["seq"] if found else -1, limit=500))[
            "events"
        ]:
            found += page
        return found

    async def socket(self, after: int, run: str = "", form: str = "json") -> ClientConnection:
        """The live socket from `after` on."""
        answer = await self._http.post("/live/ticket")
        answer.raise_for_status()
        query = {"ticket": answer.json()["ticket"], "after": str(after), "as": form} | ({"run": run} if run else {})
        url = f"{self.url.replace('http', 'ws', 1)}/live?{urlencode(query)}"
        return await connect(url, origin=None, max_size=4 << 20, compression=None, proxy=None)


def gateway(place: Installation) -> httpx.AsyncClient:
    """A line to the gateway as the door has it; it finds the next server under the same name."""
    transport = httpx.AsyncHTTPTransport(uds=str(place.home / "door" / "gateway.sock"))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=BOUND_S)


@dataclass
class Watcher:
    """What a client knows of the log: each event in the order in which it was told, over all lives and cuts."""

    seen: list[tuple[int, str]] = field(default_factory=list)
    run: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def last(self) -> int:
        return self.seen[-1][0] if self.seen else -1

    async def watch(self, client: Client) -> None:
        """Follow until the connection is lost."""
        line = await client.socket(self.last, self.run)
        try:
            while True:
                self.take(json.loads(await line.recv()))
        finally:
            line.transport.abort()
            await line.wait_closed()

    def take(self, shown: Json) -> None:
        """A frame; one without events (a preview, a sign of life) tells nothing that counts."""
        for event in shown.get("events", ()):
            assert event["seq"] > self.last, f"#{event['seq']} came after #{self.last}"
            assert self.run or event["seq"] == self.last + 1, f"#{event['seq']} came after #{self.last}"
            self.seen.append((event["seq"], event["id"]))
        self.news.set()


@dataclass
class Tail:
    """Checks each line of the log once, as it comes: a restart may not change what was checked before."""

    installation: Installation
    check: LogCheck = field(init=False)
    ids: list[str] = field(default_factory=list)

    def advance(self) -> None:
        """Check what is new; every earlier line is bound by the next line's root."""
        if not self.ids:
            self.check = LogCheck(frozenset({signer(self.installation.home / "keys", "receipt-0").public}))
        for seq, line in self.installation.lines(len(self.ids) - 1):
            receipt = self.check.feed(seq, line)
            assert receipt is not None, f"line {seq} is no receipt"
            self.ids.append(receipt.id)
        errors = [found for found in self.check.findings.listed if found.code.startswith("E_")]
        assert not errors, errors


async def until(find: Callable[[], Awaitable[T]], what: str, within: float = BOUND_S) -> T:
    """What `find` gives as soon as it gives something."""
    end = time.monotonic() + within
    while not (found := await find()):
        assert time.monotonic() < end, f"{what} did not come in {within:g} s"
        await asyncio.sleep(0.02)
    return found


@asynccontextmanager
async def installed(folder: Path | None = None, **more: str) -> AsyncIterator[Installation]:
    """A new installation (in `folder`); its processes and containers are gone after it."""
    # Short on purpose: the folder of the demo's mailbox and of sockets stays within bounds.
    own = Path(tempfile.mkdtemp(prefix="helm-e2e-"))
    home = (folder or own) / "home"
    home.mkdir(mode=0o700)
    place = Installation(home, free_port(), own / "server.log", more)
    try:
        yield place
    finally:
        for client in place.clients:
            await client.aclose()
        for process in (place.process, place.spare):
            if process is not None and process.returncode is None:
                process.kill()
                await process.communicate()
        await _sweep(home)
        if not os.environ.get("HELM_KEEP"):
            await asyncio.to_thread(clear_away, own)


async def _sweep(home: Path) -> None:
    sandbox = Sandbox(home, ROOT / "agent_image" / "seccomp.json")
    with suppress(sqlite3.Error):
        if (await sandbox.probe()).available:
            for container in await sandbox.list():
                await sandbox.kill(container.run)
                await sandbox.remove(container.run)
    sandbox.close()


def label(text: str) -> str:
    """A text as a name inside commands."""
    return re.sub(r"[^a-z0-9-]", "", text.lower())

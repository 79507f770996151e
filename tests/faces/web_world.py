"""The face for people as it is served: the real application on a real socket, over a whole Helm without Docker."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn
from app.adapters.passwords import Argon2Passwords
from app.adapters.people import SqlitePeople
from app.ports import Library
from app.services.people import PeopleDesk
from app.services.people_port import Role
from app.settings import ROOT
from app.web.app import create_web_app
from app.web.settings import WebSettings
from argon2 import PasswordHasher
from litestar import Litestar
from websockets.asyncio.client import ClientConnection, connect

from tests.house import LIBRARY, House, ShelfSandbox, house

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "a sentence is fine"


@dataclass
class WebWorld:
    """A house, its people and its dashboard."""

    house: House
    people: PeopleDesk
    app: Litestar
    base: str
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.base.removeprefix("http://")

    def client(self, **headers: str) -> httpx.AsyncClient:
        """A browser with nothing in it."""
        client = httpx.AsyncClient(base_url=self.base, headers=headers, timeout=20)
        self.clients.append(client)
        return client

    async def browser(self, account: str = "ana", role: Role = "owner") -> httpx.AsyncClient:
        """A browser that is signed in, with its CSRF token among its headers."""
        client = self.client()
        link = await self.people.new_link(account, role)
        page = await client.get(f"/login/link/{link}")
        if page.status_code == 200:
            form = {"_csrf_token": field_of(page.text), "password": PASSWORD, "again": PASSWORD}
            page = await client.post(f"/login/link/{link}", data=form)
        assert page.status_code == 303, page.text
        inbox = await client.get("/inbox")
        token = re.search(r"x-csrftoken&#34;: &#34;([0-9a-f]{64})|x-csrftoken\": \"([0-9a-f]{64})", inbox.text)
        assert token is not None, inbox.text[:2000]
        client.headers["x-csrftoken"] = token.group(1) or token.group(2)
        return client

    async def program(self, account: str = "ana", role: Role = "owner") -> httpx.AsyncClient:
        """A client with a Bearer token."""
        person = await self.people.ensure_person(account, role)
        _, secret = await self.people.new_token(person.id, "test")
        return self.client(authorization=f"Bearer {secret}")

    async def ticket(self, client: httpx.AsyncClient) -> str:
        answer = await client.post("/live/ticket")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["ticket"])

    async def socket(
        self, client: httpx.AsyncClient, *, after: int = -1, run: str = "", form: str = "json"
    ) -> ClientConnection:
        """An open live socket."""
        query = f"ticket={await self.ticket(client)}&after={after}&run={run}&as={form}"
        return await connect(f"ws://{self.host}/live?{query}", max_size=2**22)


def field_of(html: str, name: str = "_csrf_token") -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found is not None, html[:2000]
    return found.group(1)


async def frame(line: ClientConnection, timeout: float = 10) -> dict[str, Any]:
    """The next frame of a socket."""
    async with asyncio.timeout(timeout):
        loaded: dict[str, Any] = orjson.loads(await line.recv())
        return loaded


async def frames_until(line: ClientConnection, seq: int) -> list[dict[str, Any]]:
    """Frames up to the one that holds event `seq`."""
    got = [await frame(line)]
    while got[-1].get("after", -1) < seq:
        got.append(await frame(line))
    return got


async def events_until(line: ClientConnection, seq: int) -> list[int]:
    """The numbers of the events that a JSON socket tells, until it has told `seq`."""
    return [event["seq"] for got in await frames_until(line, seq) for event in got.get("events", [])]


@asynccontextmanager
async def served(app: Litestar) -> AsyncIterator[str]:
    """The application on a port of its own; its address."""
    # With the protocol named, asyncio turns Nagle off; without it every answer of two writes waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, lifespan="on", proxy_headers=False, log_config=None, ws="websockets-sansio", timeout_graceful_shutdown=3
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    async with asyncio.timeout(10):
        while not server.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 15)
        listener.close()


def settings_for(**changed: Any) -> WebSettings:
    """Settings of a dashboard on loopback."""
    given: Mapping[str, Any] = {
        "hosts": frozenset({"127.0.0.1", "localhost"}),
        "origins": frozenset({"http://127.0.0.1"}),
        "secret": b"s" * 32,
        "templates": ROOT / "templates",
        "static": ROOT / "static",
        "version": "test",
    }
    return WebSettings(**{**given, **changed})


@asynccontextmanager
async def web_world(
    home: Path, *, library: Library = LIBRARY, sandbox: ShelfSandbox | None = None, **settings: Any
) -> AsyncIterator[WebWorld]:
    """A dashboard over a house in `home`."""
    async with house(home, slots=8, library=library, sandbox=sandbox) as world:
        store = SqlitePeople(home / "people.db")
        people = PeopleDesk(store, Argon2Passwords(QUICK), world.clock)
        app = create_web_app(world.services, people, settings_for(**settings))
        try:
            async with served(app) as base:
                found = WebWorld(world, people, app, base)
                try:
                    yield found
                finally:
                    for client in found.clients:
                        await client.aclose()
        finally:
            store.close()

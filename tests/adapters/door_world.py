"""A world around the door for tests: a server's gateway, a model provider and raw clients, all real, on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.door.control import Control
from app.door.gateway_client import Gateway
from app.door.house import House, Resolver, resolve
from app.door.keys import KeyRing, open_folder
from app.door.limits import Caps

KEY = "sk-ant-real-0123456789abcdef"
RUN = "run-1"
WAIT = 10.0


@dataclass
class Seen:
    """One request as a far side saw it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


Respond = Callable[[Seen, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def reply(status: int, body: bytes, *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Far:
    """A small HTTP/1.1 server that keeps what it saw and answers as told."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.seen: list[Seen] = []
        self.connections = 0
        self.closed = 0
        self.server: asyncio.Server | None = None
        self._arrived = asyncio.Condition()

    async def start_unix(self, path: str) -> None:
        self.server = await asyncio.start_unix_server(self._serve, path)

    async def start_tcp(self, tls: ssl.SSLContext | None = None) -> int:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        port = self.server.sockets[0].getsockname()[1]
        assert isinstance(port, int)
        return port

    def stop(self) -> None:
        if self.server is not None:
            self.server.close()

    async def until(self, count: int, path: str = "") -> list[Seen]:
        """Wait until `count` requests to `path` have been seen."""
        async with asyncio.timeout(WAIT), self._arrived:
            await self._arrived.wait_for(lambda: len(self.of(path)) >= count)
        return self.of(path)

    async def until_closed(self, count: int) -> None:
        async with asyncio.timeout(WAIT), self._arrived:
            await self._arrived.wait_for(lambda: self.closed >= count)

    def of(self, path: str) -> list[Seen]:
        return [request for request in self.seen if not path or request.target.partition("?")[0] == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await read_seen(reader)) is not None:
                self.seen.append(request)
                async with self._arrived:
                    self._arrived.notify_all()
                await self.respond(request, reader, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.closed += 1
            async with self._arrived:
                self._arrived.notify_all()


async def read_seen(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = [(line.partition(":")[0].lower(), line.partition(":")[2].strip()) for line in lines[1:-2]]
    found = dict(headers)
    body = b""
    if "content-length" in found:
        body = await reader.readexactly(int(found["content-length"]))
    elif found.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    return Seen(method, target, headers, body)


Decide = Callable[[Seen], tuple[int, Mapping[str, object]]]


def allow_model(_: Seen) -> tuple[int, Mapping[str, object]]:
    return 200, {"verdict": "ALLOW", "ticket": "t-1"}


@dataclass
class World:
    """The whole: the door in this process, what stands around it, and ways to talk to it."""

    gateway: Far
    provider: Far
    provider_port: int
    control: Control
    house: House
    decide: dict[str, Decide] = field(default_factory=dict)
    forward: Respond | None = None
    hold_ends: asyncio.Event | None = None
    resolved: list[str] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)

    def upstreams(self) -> dict[str, object]:
        base = f"http://127.0.0.1:{self.provider_port}"
        return {name: {"base": base, "key": "anthropic"} for name in ("anthropic", "openai")}

    async def open(self, run: str = RUN, uids: tuple[int, ...] = ()) -> None:
        answer = await self.control.obey(
            {"op": "open", "run": run, "upstreams": self.upstreams(), "peer_uids": list(uids)}
        )
        assert answer == {"ok": True}, answer

    async def connect(self, run: str = RUN) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(f"runs/{run}/door.sock")

    async def raw(self, data: bytes, run: str = RUN) -> bytes:
        """Everything that comes back to `data` until the door closes."""
        reader, writer = await self.connect(run)
        try:
            writer.write(data)
            async with asyncio.timeout(WAIT):
                return await reader.read(-1)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def post(self, target: str, body: bytes, *fields: str, run: str = RUN) -> bytes:
        lines = [f"POST {target} HTTP/1.1", "host: 127.0.0.1:3128", f"content-length: {len(body)}", *fields]
        return await self.raw("\r\n".join([*lines, "connection: close", "", ""]).encode() + body, run)

    async def get(self, target: str, *fields: str) -> bytes:
        return await self.raw(
            "\r\n".join([f"GET {target} HTTP/1.1", "host: x", *fields, "connection: close", "", ""]).encode()
        )


async def _not_found(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(reply(404, b"nothing"))


@asynccontextmanager
async def world(folder: Path, caps: Caps | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[World]:
    """Everything up, one run open; the caller stands in `folder`."""
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    write_key(keys / "anthropic", KEY)
    decide: dict[str, Decide] = {"/door/model": allow_model}

    async def answer(request: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = request.target.partition("?")[0]
        if path.endswith("/end") and path.startswith("/door/"):
            if made.hold_ends is not None:
                await made.hold_ends.wait()
            writer.write(reply(200, b"{}"))
        elif path in decide:
            status, body = decide[path](request)
            writer.write(reply(status, json.dumps(body).encode()))
        elif made.forward is not None:
            await made.forward(request, reader, writer)
        else:
            writer.write(reply(404, b"{}"))

    gateway, provider = Far(answer), Far(_not_found)
    await gateway.start_unix("gateway.sock")
    port = await provider.start_tcp()
    ring = KeyRing(open_folder(str(keys)))
    assert ring.load() == []
    resolver: Resolver = resolve

    async def known(host: str, port: int) -> list[str]:
        made.resolved.append(host)
        if host not in made.answers:
            raise OSError("no such name")
        return made.answers[host]

    resolver = known
    house = House(Gateway(), ring, tls or ssl.create_default_context(), caps or Caps(), resolver)
    made = World(gateway, provider, port, Control(house), house, decide)
    await made.open()
    try:
        yield made
    finally:
        await made.control.close()
        await house.gateway.settle(1.0)
        house.gateway.pool.close()
        gateway.stop()
        provider.stop()


def write_key(path: Path, key: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(key + "\n")


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer[9:12])


def body_of(answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head:
        return body
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        if not int(size, 16):
            return out
        out, body = out + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return out

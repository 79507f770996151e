"""What passes on to the server: paths, the run's identity, streaming both ways, and who leaves first."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.door_world import RUN, WAIT, Seen, World, body_of, reply, status_of, world


@pytest.fixture
async def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.chdir(tmp_path)
    async with world(tmp_path) as made:
        made.forward = echo
        yield made


async def echo(request: Seen, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(reply(200, request.body, "content-type: application/json", "x-answer: yes"))


@pytest.mark.parametrize(
    "target", ["/gate", "/gate/outcome", "/runner/hello", "/runner/stream?lease=1", "/mcp/mail", "/mcp/mail/x?a=%20"]
)
async def test_the_servers_paths_pass_with_the_runs_identity(door: World, target: str) -> None:
    answer = await door.post(
        target, b'{"a": 1}', "x-helm-run: other", "X-Helm-Role: owner", "x-forwarded-for: 1.1.1.1", "mcp-method: ping"
    )

    assert (status_of(answer), body_of(answer)) == (200, b'{"a": 1}')
    seen = door.gateway.seen[0]
    assert (seen.target, seen.body) == (target, b'{"a": 1}')
    assert seen.headers == [
        ("host", "gateway"),
        ("x-helm-run", RUN),
        ("mcp-method", "ping"),
        ("content-length", "8"),
    ]


@pytest.mark.parametrize(
    "target",
    [
        "/gateway",
        "/gate/../door/model",
        "/gate/%2e%2e/door/model",
        "/gate//x",
        "/gate;a",
        "/GATE",
        "/runner\\hello",
        "/mcp/./x",
        "/healthz",
        "/?/gate",
    ],
)
async def test_everything_else_is_not_there(door: World, target: str) -> None:
    assert status_of(await door.post(target, b"{}")) == 404
    assert door.gateway.seen == []


async def test_other_methods_and_upgrades_do_not_pass(door: World) -> None:
    assert status_of(await door.raw(b"PUT /gate HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")) == 405
    assert status_of(await door.get("/mcp/mail", "upgrade: websocket", "connection: upgrade")) == 405
    assert door.gateway.seen == []


async def test_a_verdict_that_takes_long_is_waited_for_and_the_connection_is_used_again(door: World) -> None:
    release = asyncio.Event()

    async def held(request: Seen, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(reply(200, request.body))

    door.forward = held
    reader, writer = await door.connect()
    writer.write(b"POST /gate HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
    await door.gateway.until(1)
    release.set()
    async with asyncio.timeout(WAIT):
        await reader.readuntil(b"{}")
        writer.write(b"POST /gate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert (await reader.readuntil(b"abc")).startswith(b"HTTP/1.1 200")
    writer.close()
    assert door.gateway.seen[1].body == b"abc"


async def test_an_open_stream_passes_each_line_at_once(door: World) -> None:
    turns: asyncio.Queue[bytes] = asyncio.Queue()

    async def lines(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while line := await turns.get():
            writer.write(b"%x\r\n%b\r\n" % (len(line), line))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    door.forward = lines
    reader, writer = await door.connect()
    writer.write(b"GET /runner/stream?lease=1 HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(WAIT):
        await reader.readuntil(b"\r\n\r\n")
        for number in range(20):
            await turns.put(b'{"op": "ping", "n": %d}\n' % number)
            assert f'"n": {number}' in (await reader.readuntil(b"\n\r\n")).decode()
        await turns.put(b"")
        await reader.readuntil(b"0\r\n\r\n")
    writer.close()


async def test_a_client_that_leaves_ends_the_servers_request(door: World) -> None:
    left = asyncio.Event()

    async def held(_: Seen, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read(1)
        left.set()
        raise ConnectionError

    door.forward = held
    _, writer = await door.connect()
    writer.write(b"POST /gate HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
    await door.gateway.until(1)
    writer.close()
    async with asyncio.timeout(WAIT):
        await left.wait()


async def test_a_server_that_leaves_ends_the_clients_request(door: World) -> None:
    async def gone(_: Seen, __: asyncio.StreamReader, ___: asyncio.StreamWriter) -> None:
        raise ConnectionError

    async def half(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await writer.drain()
        raise ConnectionError

    door.forward = gone
    answer = await door.post("/gate", b"{}")
    assert status_of(answer) == 503
    assert json.loads(body_of(answer))["error"]["reason_code"] == "GATEWAY_UNREACHABLE"
    door.forward = half
    assert body_of(await door.post("/gate", b"{}")) == b"half"


async def test_without_a_server_the_answer_is_an_error_and_never_a_permission(door: World) -> None:
    door.gateway.stop()
    os.unlink("gateway.sock")

    answer = await door.post("/gate", b"{}")

    assert status_of(answer) == 503
    assert "hookSpecificOutput" not in body_of(answer).decode()


async def test_a_body_beyond_the_bound_is_refused(door: World) -> None:
    assert status_of(await door.raw(b"POST /gate HTTP/1.1\r\nhost: x\r\ncontent-length: 8388609\r\n\r\n")) == 413
    part = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    answer = await door.raw(b"POST /gate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + part * 9)
    assert status_of(answer) == 413
    assert door.gateway.seen == []

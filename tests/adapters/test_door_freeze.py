"""A frozen run at the door: what leads outside is cut, nothing new leaves, model calls wait until a thaw."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.door_world import RUN, WAIT, Seen, World, body_of, status_of, world
from tests.adapters.test_door_egress import Sink, allow, connect
from tests.adapters.test_door_models import BODY, DELTA, SSE, START, STOP, TOOL, chunk, stream


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.chdir(tmp_path)
    async with world(tmp_path) as made:
        made.provider.respond = stream
        yield made


async def order(door: World, op: str) -> None:
    assert await door.control.obey({"op": op, "run": RUN}) == {"ok": True}


async def begin(door: World) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A model call whose answer was not read yet."""
    reader, writer = await door.connect()
    head = f"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BODY)}\r\n\r\n"
    writer.write(head.encode() + BODY)
    return reader, writer


async def test_a_freeze_cuts_open_tunnels_and_refuses_new_ones(door: World, sink: Sink) -> None:
    port = await sink.start()
    door.decide["/door/egress"] = allow("raw", "http")
    _, reader, writer = await connect(door, f"good.test:{port}")
    writer.write(b"x")
    async with asyncio.timeout(WAIT):
        await reader.readuntil(b">")
        await order(door, "freeze")
        with contextlib.suppress(ConnectionError):
            assert await reader.read(-1) == b""
    writer.close()
    (end,) = await door.gateway.until(1, "/door/egress/end")
    assert (end.json()["status"], end.json()["error"]) == ("failed", "FROZEN")
    asked = len(door.gateway.of("/door/egress"))

    for request in (f"CONNECT good.test:{port} HTTP/1.1", f"GET http://good.test:{port}/ HTTP/1.1"):
        answer = await door.raw(f"{request}\r\nhost: good.test:{port}\r\n\r\n".encode())
        assert status_of(answer) == 403
        assert b"froze" in answer
    assert len(door.gateway.of("/door/egress")) == asked, "nobody has to be asked"
    assert sink.connections == 1

    await order(door, "thaw")
    head, _, writer = await connect(door, f"good.test:{port}")
    assert status_of(head) == 200
    writer.close()
    assert sink.server is not None
    sink.server.close()


async def test_a_connection_that_was_allowed_a_moment_before_the_freeze_is_not_made(door: World, sink: Sink) -> None:
    port = await sink.start()
    decided = asyncio.Event()

    async def later(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await decided.wait()
        body = b'{"verdict": "ALLOW", "ticket": "e-1", "flags": ["raw"], "addresses": ["127.0.0.1"]}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    door.forward = later
    reader, writer = await door.connect()
    writer.write(f"CONNECT good.test:{port} HTTP/1.1\r\nhost: good.test:{port}\r\n\r\n".encode())
    await door.gateway.until(1, "/door/egress")
    await order(door, "freeze")
    decided.set()
    async with asyncio.timeout(WAIT):
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 403
    writer.close()
    (end,) = await door.gateway.until(1, "/door/egress/end")
    assert end.json()["error"] == "FROZEN"
    assert sink.received == b""
    assert sink.server is not None
    sink.server.close()


async def test_a_freeze_ends_a_running_model_stream(door: World) -> None:
    async def endless(_: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE + b"\r\n" + chunk(START))
        await writer.drain()
        await reader.read(1)
        raise ConnectionError

    door.provider.respond = endless
    reader, writer = await begin(door)
    async with asyncio.timeout(WAIT):
        await reader.readuntil(b"message_start")
        await order(door, "freeze")
        rest = await reader.read(-1)
    assert not rest.endswith(b"0\r\n\r\n"), "a cut answer does not look whole"
    writer.close()
    await door.provider.until_closed(1)
    (end,) = await door.gateway.until(1, "/door/model/end")
    assert (end.json()["status"], end.json()["error"]) == ("failed", "frozen")
    assert end.json()["usage"] == {"input_tokens": 7, "output_tokens": 1}


async def test_a_model_call_waits_through_a_freeze_and_then_goes_the_usual_way(door: World) -> None:
    await order(door, "freeze")
    await order(door, "freeze")
    reader, writer = await begin(door)
    answer = asyncio.create_task(reader.readuntil(STOP))
    done, _ = await asyncio.wait({answer}, timeout=0.3)
    assert not done
    assert (door.gateway.seen, door.provider.seen) == ([], []), "nothing was asked, and nothing reserved"
    await order(door, "thaw")
    async with asyncio.timeout(WAIT):
        whole = await answer
    writer.close()
    assert body_of(whole + b"\r\n0\r\n\r\n") == START + TOOL + DELTA + STOP
    assert len(door.gateway.of("/door/model")) == 1


async def test_a_model_call_that_was_cut_before_it_was_answered_is_told_to_come_again(door: World) -> None:
    async def silent(_: Seen, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read(1)
        raise ConnectionError

    door.provider.respond = silent
    reader, writer = await begin(door)
    await door.provider.until(1)
    await order(door, "freeze")
    async with asyncio.timeout(WAIT):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert status_of(head) == 529, "403 would end the run"
    assert b"retry-after: 1" in head


async def test_a_verdict_that_says_frozen_asks_to_come_again(door: World) -> None:
    door.decide["/door/model"] = lambda _: (200, {"verdict": "DENY", "reason_code": "FROZEN", "status": 529})
    answer = await door.post("/anthropic/v1/messages", BODY)
    assert status_of(answer) == 529
    assert b"retry-after" in answer


async def test_a_door_that_is_told_at_its_start_lets_nothing_out_for_a_moment(door: World) -> None:
    frozen = {"op": "open", "run": "run-2", "upstreams": door.upstreams(), "peer_uids": [], "frozen": True}
    assert await door.control.obey(frozen) == {"ok": True}
    door.decide["/door/egress"] = allow("raw")
    answer = await door.raw(b"CONNECT good.test:443 HTTP/1.1\r\nhost: good.test:443\r\n\r\n", "run-2")
    assert status_of(answer) == 403
    await door.open("run-2")
    assert door.gateway.seen == []
    del door.decide["/door/egress"]
    answer = await door.raw(b"CONNECT good.test:443 HTTP/1.1\r\nhost: good.test:443\r\n\r\n", "run-2")
    assert status_of(answer) == 503, "asked again: it was thawed"


async def test_one_frozen_run_does_not_hold_another(door: World) -> None:
    await door.open("run-2")
    await order(door, "freeze")
    assert status_of(await door.post("/anthropic/v1/messages", BODY, run="run-2")) == 200

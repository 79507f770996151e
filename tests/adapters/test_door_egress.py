"""The way out: the fixed order of the decision, name and address tricks, hellos, plain http, and its told end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from app.door.limits import Caps

from tests.adapters.door_world import WAIT, Far, Seen, World, body_of, reply, status_of, world


@pytest.fixture
async def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.chdir(tmp_path)
    async with world(tmp_path, Caps(idle_seconds=5.0)) as made:
        yield made


def allow(*flags: str, pins: tuple[str, ...] = ("127.0.0.1",)) -> Callable[[Seen], tuple[int, Mapping[str, object]]]:
    return lambda _: (200, {"verdict": "ALLOW", "ticket": "e-1", "flags": list(flags), "addresses": list(pins)})


def hello(name: str) -> bytes:
    """What OpenSSL sends to ask for `name`."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def unnamed_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


class Sink:
    """A far side that keeps the bytes and answers each read."""

    def __init__(self) -> None:
        self.received = b""
        self.connections = 0
        self.server: asyncio.Server | None = None

    async def start(self) -> int:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        assert isinstance(port, int)
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while data := await reader.read(65536):
            self.received += data
            writer.write(b"<" + str(len(data)).encode() + b">")
        writer.write(b"bye")
        writer.close()


@pytest.fixture
async def sink() -> AsyncIterator[tuple[Sink, int]]:
    made = Sink()
    port = await made.start()
    yield made, port
    assert made.server is not None
    made.server.close()


async def connect(door: World, target: str) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await door.connect()
    writer.write(f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n".encode())
    async with asyncio.timeout(WAIT):
        return await reader.readuntil(b"\r\n\r\n"), reader, writer


async def the_end(door: World) -> dict[str, object]:
    ends = await door.gateway.until(1, "/door/egress/end")
    assert len(ends) == 1
    return ends[0].json()


NAMES = [
    "127.0.0.1:443",
    "127.1:443",
    "2130706433:443",
    "0x7f.0.0.1:443",
    "0177.0.0.1:443",
    "[::1]:443",
    "[::ffff:127.0.0.1]:443",
    "user@good.test:443",
    "good.test@evil.test:443",
    "good.test#evil.test:443",
    "good.test%00.evil.test:443",
    "good.test%2eevil.test:443",
    "good.test:443:80",
    "good.test:0443",
    "good.test:+443",
    "good.test:0",
    "good.test:65536",
    "good.test:",
    "good.test",
    ":443",
    "good..test:443",
    ".good.test:443",
    "good.test..:443",
    "-good.test:443",
    "good_x.test:443",
    "g\u043eod.test:443",
    "a" * 64 + ".test:443",
    "a." * 127 + "test:443",
    "*.good.test:443",
    "good.test/x:443",
    "good.test:443/",
    "http://good.test:443",
]


@pytest.mark.parametrize("target", NAMES)
async def test_a_name_that_is_not_canonical_is_never_asked_nor_resolved(door: World, target: str) -> None:
    answer = await door.raw(f"CONNECT {target} HTTP/1.1\r\nhost: good.test:443\r\n\r\n".encode())

    assert status_of(answer) == 400
    assert (door.gateway.seen, door.resolved) == ([], [])


async def test_a_denied_name_is_not_resolved_and_says_what_would_allow_it(door: World) -> None:
    door.decide["/door/egress"] = lambda _: (200, {"verdict": "DENY", "reason_code": "NOT_LISTED", "message": "no"})

    answer, _, writer = await connect(door, "Evil.Test.:443")
    writer.close()

    assert status_of(answer) == 403
    assert door.resolved == []
    assert door.gateway.of("/door/egress")[0].json() == {"form": "connect", "host": "evil.test", "port": 443}
    assert b"evil.test:443" in await door.raw(b"CONNECT evil.test:443 HTTP/1.1\r\nhost: evil.test:443\r\n\r\n")


@pytest.mark.parametrize("host", ["api.anthropic.com", "API.OpenAI.com", "api.anthropic.com."])
@pytest.mark.parametrize("form", ["CONNECT {}:443", "GET http://{}/v1/messages"])
async def test_a_model_host_is_reached_through_the_proxy_only(door: World, host: str, form: str) -> None:
    door.decide["/door/egress"] = allow("http", "raw")

    authority = f"{host}:443" if form.startswith("CONNECT") else host
    answer = await door.raw(f"{form.format(host)} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())

    assert status_of(answer) == 403
    assert b"model proxy" in answer
    assert (door.gateway.seen, door.resolved) == ([], [])


async def test_a_pinned_address_that_is_the_model_server_is_refused(door: World) -> None:
    door.decide["/door/egress"] = allow("raw")

    answer, _, writer = await connect(door, f"good.test:{door.provider_port}")
    writer.close()

    assert status_of(answer) == 403
    assert (await the_end(door))["status"] == "refused"
    assert door.provider.connections == 0


BAD = [
    ["10.0.0.1"],
    ["127.0.0.1"],
    ["169.254.169.254"],
    ["100.64.0.1"],
    ["0.0.0.0"],
    ["192.168.1.1"],
    ["172.31.0.1"],
    ["224.0.0.1"],
    ["255.255.255.255"],
    ["::1"],
    ["fe80::1%eth0"],
    ["fc00::1"],
    ["64:ff9b::7f00:1"],
    ["2002:7f00:1::"],
    ["2001::1"],
    ["::ffff:127.0.0.1"],
    ["::127.0.0.1"],
    ["fd00:ec2::254"],
    ["93.184.216.34", "10.0.0.1"],
    ["10.0.0.1", "93.184.216.34"],
    ["93.184.216.34", "::1"],
]


@pytest.mark.parametrize("addresses", BAD)
async def test_one_special_address_of_several_refuses_all(door: World, addresses: list[str]) -> None:
    door.decide["/door/egress"] = allow(pins=())
    door.answers["good.test"] = addresses

    answer, _, writer = await connect(door, "good.test:443")
    writer.close()

    assert status_of(answer) == 403
    assert b"address" in await door.raw(b"CONNECT good.test:443 HTTP/1.1\r\nhost: good.test:443\r\n\r\n")
    end = (await door.gateway.until(1, "/door/egress/end"))[0].json()
    assert (end["status"], end["error"], end["ip"]) == ("refused", "BLOCKED_ADDRESS", "")


async def test_the_gateways_silence_refuses(door: World) -> None:
    for answer in ((500, {"verdict": "ALLOW", "ticket": "x"}), (200, {}), (200, {"verdict": "ALLOW"})):
        door.decide["/door/egress"] = lambda _, answer=answer: answer  # type: ignore[misc]
        head, _, writer = await connect(door, "good.test:443")
        writer.close()
        assert status_of(head) in (403, 503)
    assert door.resolved == []


async def test_a_pin_that_is_not_an_address_refuses(door: World) -> None:
    door.decide["/door/egress"] = allow("raw", pins=("localhost",))
    head, _, writer = await connect(door, "good.test:443")
    writer.close()
    assert (status_of(head), door.resolved) == (403, [])


async def test_a_tunnel_to_a_pinned_address_passes_bytes_and_tells_its_end(door: World, sink: tuple[Sink, int]) -> None:
    door.decide["/door/egress"] = allow()
    first = hello("good.test")
    head, reader, writer = await connect(door, f"good.test:{sink[1]}")
    assert status_of(head) == 200
    async with asyncio.timeout(WAIT):
        writer.write(first)
        back = await reader.readuntil(b">")
        writer.write(b"more")
        back += await reader.readuntil(b">")
        writer.write_eof()
        back += await reader.read(-1)
    writer.close()

    assert back.endswith(b"<4>bye")
    assert sink[0].received == first + b"more"
    assert door.resolved == []
    assert await the_end(door) == {
        "ticket": "e-1",
        "ip": "127.0.0.1",
        "bytes_in": len(back),
        "bytes_out": len(first) + 4,
        "status": "executed",
        "error": "",
    }


@pytest.mark.parametrize("piece", [1, 7, 100])
async def test_a_hello_in_pieces_passes(door: World, sink: tuple[Sink, int], piece: int) -> None:
    door.decide["/door/egress"] = allow()
    first = hello("good.test")
    _, reader, writer = await connect(door, f"good.test:{sink[1]}")
    async with asyncio.timeout(WAIT):
        for at in range(0, len(first), piece):
            writer.write(first[at : at + piece])
            await writer.drain()
        await reader.readuntil(b">")
    writer.close()


@pytest.mark.parametrize(
    "first",
    [
        hello("evil.test"),
        hello("sub.good.test"),
        unnamed_hello(),
        b"GET / HTTP/1.1\r\nhost: good.test\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff" + b"x" * 100,
        b"\x80\x2e\x01\x03\x01",
    ],
)
async def test_a_tunnel_without_the_right_hello_is_cut(door: World, sink: tuple[Sink, int], first: bytes) -> None:
    door.decide["/door/egress"] = allow()
    _, reader, writer = await connect(door, f"good.test:{sink[1]}")
    writer.write(first)
    async with asyncio.timeout(WAIT):
        back = await reader.read(-1)
    writer.close()

    assert back[:2] == b"\x15\x03"
    assert sink[0].received == b""
    assert (await the_end(door))["status"] == "refused"


async def test_a_raw_rule_lets_other_protocols_pass(door: World, sink: tuple[Sink, int]) -> None:
    door.decide["/door/egress"] = allow("raw")
    _, reader, writer = await connect(door, f"good.test:{sink[1]}")
    writer.write(b"SSH-2.0-x\r\n")
    async with asyncio.timeout(WAIT):
        assert await reader.readuntil(b">") == b"<11>"
    writer.close()


async def test_a_client_that_leaves_while_a_person_decides_ends_the_question(door: World) -> None:
    left = asyncio.Event()

    async def held(_: Seen, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read(1)
        left.set()
        raise ConnectionError

    door.forward = held
    _, writer = await door.connect()
    writer.write(b"CONNECT good.test:443 HTTP/1.1\r\nhost: good.test:443\r\n\r\n")
    await door.gateway.until(1, "/door/egress")
    writer.close()
    async with asyncio.timeout(WAIT):
        await left.wait()


async def test_a_closed_run_cuts_its_tunnels(door: World, sink: tuple[Sink, int]) -> None:
    door.decide["/door/egress"] = allow("raw")
    _, reader, writer = await connect(door, f"good.test:{sink[1]}")
    writer.write(b"x")
    async with asyncio.timeout(WAIT):
        await reader.readuntil(b">")
        assert (await door.control.obey({"op": "close", "run": "run-1"}))["ok"]
        with contextlib.suppress(ConnectionError):
            assert await reader.read(-1) == b""
    writer.close()
    assert os.listdir("runs") == []
    assert (await the_end(door))["error"] == "cut"


async def test_plain_http_needs_its_flag(door: World, sink: tuple[Sink, int]) -> None:
    door.decide["/door/egress"] = allow()
    answer = await door.raw(f"GET http://good.test:{sink[1]}/x HTTP/1.1\r\nhost: good.test:{sink[1]}\r\n\r\n".encode())

    assert status_of(answer) == 403
    assert sink[0].connections == 0
    assert (await the_end(door))["status"] == "refused"


async def test_plain_http_carries_one_request_and_one_answer(door: World) -> None:
    async def page(request: Seen, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200, request.body + b"!", "set-cookie: mine=1", "alt-svc: h3"))

    far = Far(page)
    port = await far.start_tcp()
    door.decide["/door/egress"] = allow("http")
    answer = await door.raw(
        f"POST http://good.test:{port}/a/b?q=1 HTTP/1.1\r\nhost: good.test:{port}\r\nproxy-authorization: x\r\n"
        f"x-helm-run: y\r\ncontent-length: 2\r\n\r\nhi".encode()
    )
    far.stop()

    assert (status_of(answer), body_of(answer)) == (200, b"hi!")
    assert b"set-cookie" in answer
    assert b"alt-svc" not in answer
    assert (far.seen[0].target, far.seen[0].body) == ("/a/b?q=1", b"hi")
    assert [name for name, _ in far.seen[0].headers] == ["host", "connection", "content-length"]
    question = door.gateway.of("/door/egress")[0].json()
    assert question == {"form": "http", "host": "good.test", "port": port, "method": "POST", "path": "/a/b"}
    assert (await the_end(door))["status"] == "executed"


SMUGGLES: list[bytes] = [
    b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET http://evil.test/ HTTP/1.1\r\n\r\n",
    b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    b"content-length: 5, 5\r\n\r\nhello",
    b"content-length: +5\r\n\r\nhello",
    b"content-length: 0x5\r\n\r\nhello",
    b"content-length : 5\r\n\r\nhello",
    b"host: other.test\r\n\r\n",
    b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"transfer_encoding: chunked\r\ntransfer-encoding: \tgzip\r\n\r\n0\r\n\r\n",
    b"x: a\r\n folded: yes\r\n\r\n",
    b"x: a\nhost: evil.test\r\n\r\n",
    b"x: a\rhost: evil.test\r\n\r\n",
    b"x: a\x00b\r\n\r\n",
    b" x: a\r\n\r\n",
    b": a\r\n\r\n",
    b"nocolon\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n0\r\nx: trailer\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\nfffffffff\r\n",
    b"\r\nGET http://good.test/ HTTP/1.1\r\nhost: good.test\r\n\r\n",
    b"content-length: 2\r\n\r\nhiGET http://good.test/ HTTP/1.1\r\nhost: good.test\r\n\r\n",
]


@pytest.mark.parametrize("rest", SMUGGLES)
async def test_what_two_parsers_could_read_differently_is_refused_everywhere(door: World, rest: bytes) -> None:
    door.decide["/door/egress"] = allow("http")
    door.answers["good.test"] = ["93.184.216.34"]

    answer = await door.raw(b"POST http://good.test/x HTTP/1.1\r\nhost: good.test\r\n" + rest)

    assert status_of(answer) in (400, 431)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert (door.gateway.seen, door.resolved) == ([], [])


LINES: list[tuple[bytes, int]] = [
    (b"GET /gate\r\n\r\n", 400),
    (b"GET /gate HTTP/2.0\r\nhost: x\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (b"get /gate HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    (b"GET  /gate HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    (b"GET /gate HTTP/1.1 \r\nhost: x\r\n\r\n", 400),
    (b"GET /ga te HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    (b"GET /gate#x HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    (b"GET /gate HTTP/1.1\r\n\r\n", 400),
    (b"GET /gate HTTP/1.1\nhost: x\n\n", 400),
    (b"GET https://good.test/ HTTP/1.1\r\nhost: good.test\r\n\r\n", 400),
    (b"GET http://user@good.test/ HTTP/1.1\r\nhost: good.test\r\n\r\n", 400),
    (b"GET http://good.test/ HTTP/1.1\r\nhost: evil.test\r\n\r\n", 400),
    (b"GET http://good.test:80:81/ HTTP/1.1\r\nhost: good.test\r\n\r\n", 400),
    (b"TRACE http://good.test/ HTTP/1.1\r\nhost: good.test\r\n\r\n", 405),
    (b"GET http://good.test/ HTTP/1.1\r\nhost: good.test\r\nupgrade: h2c\r\n\r\n", 405),
    (b"CONNECT good.test:443 HTTP/1.1\r\nhost: evil.test:443\r\n\r\n", 400),
    (b"CONNECT good.test:443 HTTP/1.1\r\nhost: good.test:443\r\ncontent-length: 5\r\n\r\nhello", 400),
    (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    (b"GET /gate HTTP/1.1\r\nhost: x\r\nexpect: magic\r\n\r\n", 417),
    (b"GET /gate HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    (b"GET /gate HTTP/1.1\r\nhost: x\r\n" + b"x: a\r\n" * 200 + b"\r\n", 431),
    (b"\x16\x03\x01\x00\x05hello\r\n\r\n", 400),
]


@pytest.mark.parametrize(("data", "status"), LINES)
async def test_a_malformed_request_is_refused_with_a_reason(door: World, data: bytes, status: int) -> None:
    answer = await door.raw(data)

    assert status_of(answer) == status
    assert (door.gateway.seen, door.resolved) == ([], [])


async def test_a_key_is_not_sent_elsewhere_by_host_or_absolute_form(door: World) -> None:
    door.decide["/door/egress"] = lambda _: (200, {"verdict": "DENY"})
    answer = await door.raw(
        b"POST http://evil.test/anthropic/v1/messages HTTP/1.1\r\nhost: evil.test\r\ncontent-length: 2\r\n\r\n{}"
    )
    assert status_of(answer) == 403
    assert door.provider.seen == []

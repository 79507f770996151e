"""What one run may use, provider keys over real TLS, and connections that are used again or not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from app.door.limits import Caps
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.adapters.door_world import KEY, WAIT, Far, Seen, World, reply, status_of, world

CAPS = Caps(connections=8, tunnels=2, body_bytes=1000, head_seconds=0.2, idle_seconds=0.2)
BODY = b'{"model": "claude-x", "max_tokens": 1, "messages": []}'


@pytest.fixture
async def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.chdir(tmp_path)
    async with world(tmp_path, CAPS) as made:
        yield made


async def ok(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(reply(200, b'{"id": "m", "usage": {"input_tokens": 1}}'))


async def test_connections_beyond_the_cap_are_turned_away_and_others_go_on(door: World) -> None:
    door.forward = ok
    await door.open("run-2")
    held = [await door.connect() for _ in range(CAPS.connections)]
    with contextlib.suppress(ConnectionError):
        assert await door.raw(b"GET /gate HTTP/1.1\r\nhost: x\r\n\r\n") == b""
    assert status_of(await door.post("/gate", b"{}", run="run-2")) == 200
    for _, writer in held:
        writer.close()
        await writer.wait_closed()


async def test_a_slow_head_is_cut(door: World) -> None:
    assert await door.raw(b"GET /gate HT") == b""
    assert door.gateway.seen == []


async def test_bodies_beyond_the_runs_memory_are_turned_away(door: World) -> None:
    answer = await door.post("/anthropic/v1/messages", b" " * 1001)
    assert status_of(answer) == 429


async def test_an_idle_tunnel_is_cut_and_tunnels_are_counted(door: World) -> None:
    far = Far(ok)
    port = await far.start_tcp()
    door.decide["/door/egress"] = lambda _: (
        200,
        {"verdict": "ALLOW", "ticket": "e", "flags": ["raw"], "addresses": ["127.0.0.1"]},
    )
    opened = []
    for _ in range(CAPS.tunnels):
        reader, writer = await door.connect()
        writer.write(f"CONNECT good.test:{port} HTTP/1.1\r\nhost: good.test:{port}\r\n\r\n".encode())
        async with asyncio.timeout(WAIT):
            assert status_of(await reader.readuntil(b"\r\n\r\n")) == 200
        opened.append((reader, writer))
    request = f"CONNECT good.test:{port} HTTP/1.1\r\nhost: good.test:{port}\r\n\r\n".encode()
    assert status_of(await door.raw(request)) == 429
    for reader, writer in opened:
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WAIT):
                assert await reader.read(-1) == b""
        writer.close()
    ends = await door.gateway.until(CAPS.tunnels, "/door/egress/end")
    assert {end.json()["error"] for end in ends} == {"idle"}
    far.stop()


async def test_a_connection_that_the_provider_closed_is_not_used_again(door: World) -> None:
    async def once(request: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ok(request, reader, writer)
        await writer.drain()
        raise ConnectionError

    door.provider.respond = once
    for turn in range(3):
        assert status_of(await door.post("/anthropic/v1/messages", BODY)) == 200
        await door.provider.until_closed(turn + 1)
    assert door.provider.connections == 3


async def test_a_request_that_may_have_arrived_is_not_sent_twice(door: World) -> None:
    async def lost(_: Seen, __: asyncio.StreamReader, ___: asyncio.StreamWriter) -> None:
        raise ConnectionError

    door.provider.respond = lost
    assert status_of(await door.post("/anthropic/v1/messages", BODY)) == 529
    assert len(door.provider.seen) == 1
    ends = await door.gateway.until(1, "/door/model/end")
    assert (ends[0].json()["status"], ends[0].json()["error"]) == ("failed", "upstream-lost")


class Authority:
    """A certificate authority of the test and a server certificate for localhost."""

    def __init__(self, folder: Path, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.pem = folder / f"{name}.pem"
        self.pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem)
        return context

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.load_verify_locations(self.pem)
        return context


@pytest.mark.parametrize(("name", "status"), [("localhost", 200), ("elsewhere.test", 529)])
async def test_the_key_goes_to_a_verified_provider_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    authority = Authority(tmp_path, name)
    far = Far(ok)
    port = await far.start_tcp(authority.server())
    async with world(tmp_path, tls=authority.client()) as door:
        upstreams = {"anthropic": {"base": f"https://localhost:{port}/prefix", "key": "anthropic"}}
        assert (await door.control.obey({"op": "open", "run": "run-1", "upstreams": upstreams}))["ok"]
        answer = await door.post("/anthropic/v1/messages", BODY)
        assert status_of(answer) == status
        if status == 200:
            assert (far.seen[0].target, far.seen[0].get("x-api-key")) == ("/prefix/v1/messages", KEY)
        else:
            assert far.seen == []
    far.stop()

"""CONNECT: after the egress decision the client's hello must ask for the same name, then bytes pass untouched.

Half-closed ways stay open the other way round; a way that idles too long, or beyond the run's share, is cut.
"""

from __future__ import annotations

import asyncio

from app.domain.egress import EgressError, parse_authority
from app.door.egress import Passage, Target, decide
from app.door.hello import HelloError, HelloReader, alert_bytes, check_hello
from app.door.house import House
from app.door.limits import HELLO_SECONDS
from app.door.log import log
from app.door.parse import Framing, HttpError, RequestHead
from app.door.run_door import RunDoor
from app.door.wire import Wire, WireError, close_soon, watch_client

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def serve_connect(house: House, run: RunDoor, client: Wire, head: RequestHead) -> None:
    """Carry one tunnel from its request to its end. Raises HttpError before it is established, WireError after."""
    target = _target(head)
    with run.allowance.tunnel():
        watch_client(client)
        try:
            way = await decide(house, run, target)
            wire = await way.open()
        finally:
            client.gone = None
        try:
            await _carry(run, client, wire, way, target.host)
        finally:
            # Whatever cut the tunnel, the server hears of it; after a told end this is nothing.
            way.end("failed", "FROZEN" if run.frozen else "cut")
            run.untrack(wire)
            close_soon(wire)


def _target(head: RequestHead) -> Target:
    if head.framing is Framing.CHUNKED or head.length:
        raise HttpError(400, "CONNECT has no body")
    try:
        host, port = parse_authority(head.target)
        named = head.get("host")
        if named is not None and parse_authority(named, port) != (host, port):
            raise HttpError(400, "Host names another target than CONNECT")
    except EgressError as error:
        raise HttpError(400, str(error)) from None
    return Target("connect", host, port)


async def _carry(run: RunDoor, client: Wire, wire: Wire, way: Passage, host: str) -> None:
    client.send(ESTABLISHED)
    if "raw" not in way.flags:
        try:
            await _read_hello(client, host, "ech" in way.flags)
        except HelloError as error:
            client.send(alert_bytes(error.alert))
            way.end("refused", error.reason)
            log("tunnel.refused", run=run.run, host=host, error=error.reason)
            return
        except WireError:
            way.end("refused", "no hello in time")
            raise
    cut = await pipe(run, client, wire, way)
    if run.frozen:
        client.abort()
        cut = "FROZEN"
    way.end("failed" if cut else "executed", cut)


async def _read_hello(client: Wire, host: str, ech_allowed: bool) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + HELLO_SECONDS
    reader, seen = HelloReader(), 0
    while True:
        hello = reader.feed(bytes(client.buffer[seen:]))
        if hello is not None:
            check_hello(hello, host, ech_allowed)
            return
        seen = len(client.buffer)
        if not await client.fill(max(0.0, deadline - loop.time())):
            raise WireError("the client left before its hello")


async def pipe(run: RunDoor, client: Wire, wire: Wire, way: Passage) -> str:
    """Pass bytes both ways until both ends have ended; returns why it was cut, or nothing."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[str] = loop.create_future()
    idle = run.allowance.caps.idle_seconds

    def check() -> None:
        if not over.done() and (client.lost or wire.lost or (client.eof and wire.eof)):
            over.set_result("")

    def count(size: int) -> None:
        run.allowance.count(size)
        if run.allowance.exhausted and not over.done():
            over.set_result("BYTES_EXHAUSTED")

    client.gone = wire.gone = check
    client.counted = wire.counted = count
    started = client.received - len(client.buffer)
    client.pipe_to(wire)
    wire.pipe_to(client)
    check()
    try:
        return await _until_over(over, client, wire, idle)
    finally:
        way.bytes_out, way.bytes_in = client.received - started, wire.received
        client.gone = wire.gone = None


async def _until_over(over: asyncio.Future[str], client: Wire, wire: Wire, idle: float) -> str:
    while True:
        seen = client.received + wire.received
        await asyncio.wait({over}, timeout=idle)
        if over.done():
            return over.result()
        if client.received + wire.received == seen:
            client.abort()
            wire.abort()
            return "idle"

"""Passes `/gate`, `/runner/...` and `/mcp/...` on to the server with the run's identity set here, streaming both ways.

An answer may take days (a person decides); each side's leaving ends the other.
"""

from __future__ import annotations

import re

from app.door.answers import Refusal
from app.door.exchange import Body, body_of, read_answer
from app.door.framing import LAST_CHUNK, chunk
from app.door.house import House
from app.door.limits import BODY_SECONDS, FOREVER, MAX_FORWARD_BODY
from app.door.log import log
from app.door.parse import Framing, HttpError, RequestHead
from app.door.relay import Relay, crossing_fields, relay_body, request_bytes
from app.door.run_door import RunDoor
from app.door.wire import Wire, WireError, watch_client

METHODS = frozenset({"GET", "POST", "DELETE"})
_NOTHING: frozenset[str] = frozenset()
_TARGET = re.compile(r"/(?:gate|runner|mcp)(?:/[A-Za-z0-9_.:~-]+)*(?:\?[\x21-\x7e]{0,2048})?")


def is_forwarded(target: str) -> bool:
    """Whether an origin-form target belongs to the server; everything else is not found."""
    path = target.partition("?")[0]
    return _TARGET.fullmatch(target) is not None and not any(part in (".", "..") for part in path.split("/"))


async def serve_forward(house: House, run: RunDoor, client: Wire, head: RequestHead) -> bool:
    """Carry one request to the server and its answer back; True when the connection can be used again."""
    if head.method not in METHODS:
        raise HttpError(405, "only GET, POST and DELETE pass here")
    if head.framing is Framing.LENGTH and head.length > MAX_FORWARD_BODY:
        raise HttpError(413, f"a body here has at most {MAX_FORWARD_BODY} bytes")
    try:
        wire = await house.gateway.pool.acquire()
    except (OSError, TimeoutError) as error:
        log("gateway.unreachable", run=run.run, error=type(error).__name__)
        raise Refusal(503, "Helm's server cannot be reached.", "GATEWAY_UNREACHABLE", retry=1) from None
    run.track(wire)
    try:
        reusable, keep_alive = await _exchange(run, client, head, wire)
    except BaseException:
        wire.abort()
        raise
    finally:
        client.gone = None
        run.untrack(wire)
    if reusable:
        house.gateway.pool.release(wire)
    else:
        wire.close()
    return keep_alive


async def _exchange(run: RunDoor, client: Wire, head: RequestHead, wire: Wire) -> tuple[bool, bool]:
    await _send(run, client, head, wire)
    watch_client(client)
    try:
        answer = await read_answer(wire, head.method, FOREVER)
    except (WireError, HttpError) as error:
        log("gateway.lost", run=run.run, error=str(error))
        raise Refusal(503, "Helm's server went away before it answered.", "GATEWAY_UNREACHABLE", retry=1) from None
    incoming = body_of(wire, answer)
    relay = Relay(client, head, answer, _NOTHING, None)
    relay.start(bool(wire.buffer))
    try:
        await relay_body(relay, incoming, FOREVER)
    except HttpError:
        raise WireError("the server's answer was cut") from None
    return answer.keep_alive and incoming.complete, relay.keep_alive


async def _send(run: RunDoor, client: Wire, head: RequestHead, wire: Wire) -> None:
    lines = ["host: gateway", f"x-helm-run: {run.run}", *crossing_fields(head.fields, _NOTHING)]
    chunked = head.framing is Framing.CHUNKED
    if chunked:
        lines.append("transfer-encoding: chunked")
    length = head.length if head.framing is Framing.LENGTH else None
    opening = request_bytes(head.method, head.target, lines, length)
    body = body_of(client, head)
    first = await body.next(BODY_SECONDS) if client.buffer else b""
    wire.send(opening + (chunk(first) if chunked else first))
    await _pump(body, wire, chunked, len(first))
    if chunked:
        wire.send(LAST_CHUNK)


async def _pump(body: Body, wire: Wire, chunked: bool, size: int) -> None:
    while data := await body.next(BODY_SECONDS):
        size += len(data)
        if size > MAX_FORWARD_BODY:
            raise HttpError(413, f"a body here has at most {MAX_FORWARD_BODY} bytes")
        wire.send(chunk(data) if chunked else data)
        await wire.drain(BODY_SECONDS)

"""Absolute-form `http://...`: the same egress decision, then one request and one answer per connection."""

from __future__ import annotations

from app.domain.egress import EgressError, parse_authority
from app.door.egress import Passage, Target, decide
from app.door.exchange import body_of, read_answer
from app.door.house import House
from app.door.limits import BODY_SECONDS, MAX_HTTP_BODY, UPSTREAM_SECONDS
from app.door.parse import Framing, HttpError, RequestHead
from app.door.relay import Relay, crossing_fields, relay_body, request_bytes
from app.door.run_door import RunDoor
from app.door.wire import Wire, WireError, close_soon, watch_client

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ALT_SVC = frozenset({"alt-svc"})
_NOTHING: frozenset[str] = frozenset()


async def serve_plain(house: House, run: RunDoor, client: Wire, head: RequestHead) -> None:
    """Carry one plain request out. The connection ends with it. Raises HttpError, WireError."""
    target, path = _target(head)
    held = head.length if head.framing is not Framing.CHUNKED else MAX_HTTP_BODY
    if held > MAX_HTTP_BODY:
        raise HttpError(413, f"a body here has at most {MAX_HTTP_BODY} bytes")
    run.allowance.hold(held)
    try:
        body = await body_of(client, head).read(MAX_HTTP_BODY, BODY_SECONDS)
        if client.buffer:
            raise HttpError(400, "one request per connection; nothing may follow its body")
        with run.allowance.tunnel():
            await _carry(house, run, client, head, target, path, body)
    finally:
        run.allowance.release(held)


def _target(head: RequestHead) -> tuple[Target, str]:
    if head.method not in METHODS:
        raise HttpError(405, "this method does not pass")
    rest = head.target[len("http://") :]
    end = min(at for at in (rest.find("/"), rest.find("?"), len(rest)) if at >= 0)
    authority, path = rest[:end], rest[end:]
    try:
        host, port = parse_authority(authority, 80)
        named = head.get("host")
        if named is not None and parse_authority(named, 80) != (host, port):
            raise HttpError(400, "Host names another target than the request line")
    except EgressError as error:
        raise HttpError(400, str(error)) from None
    whole = path if path.startswith("/") else "/" + path
    return Target("http", host, port, head.method, whole.partition("?")[0][:1024]), whole


async def _carry(
    house: House, run: RunDoor, client: Wire, head: RequestHead, target: Target, path: str, body: bytes
) -> None:
    watch_client(client)
    try:
        way = await decide(house, run, target)
        wire = await way.open()
        try:
            await _exchange(run, client, head, target, path, body, wire)
            way.bytes_out, way.bytes_in = len(body), wire.received
            if run.frozen:
                raise WireError("cut: the run was frozen")
            way.end("executed", "")
        finally:
            _end_cut(way, wire, "FROZEN" if run.frozen else "cut")
            run.untrack(wire)
            close_soon(wire)
    finally:
        client.gone = None


def _end_cut(way: Passage, wire: Wire, why: str) -> None:
    # After a told end this is nothing.
    way.bytes_in = wire.received
    way.end("failed", why)


async def _exchange(
    run: RunDoor, client: Wire, head: RequestHead, target: Target, path: str, body: bytes, wire: Wire
) -> None:
    authority = target.host if target.port == 80 else f"{target.host}:{target.port}"
    lines = [f"host: {authority}", *crossing_fields(head.fields, _NOTHING), "connection: close"]
    length = len(body) if head.framing is not Framing.NONE else None
    wire.send(request_bytes(head.method, path, lines, length) + body)
    await wire.drain(UPSTREAM_SECONDS)
    try:
        answer = await read_answer(wire, head.method, UPSTREAM_SECONDS)
    except (WireError, HttpError):
        raise HttpError(502, f"{target.host} gave no proper answer") from None
    relay = Relay(client, head, answer, _ALT_SVC, None)
    relay.start(bool(wire.buffer))
    try:
        await relay_body(relay, body_of(wire, answer), UPSTREAM_SECONDS)
    except HttpError:
        raise WireError("the answer was cut") from None
    finally:
        run.allowance.count(len(body) + wire.received)

"""One connection of a container: requests are read one after the other and go the way of their form.

Whatever goes wrong ends as an answer in the caller's own shape or as a closed connection, never as another request.
"""

from __future__ import annotations

import asyncio
import re

from app.door.answers import anthropic_body, gateway_body, openai_body, send_json, send_text
from app.door.exchange import read_request
from app.door.forward import is_forwarded, serve_forward
from app.door.house import House
from app.door.limits import IDLE_SECONDS
from app.door.log import log
from app.door.model_proxy import ModelCall
from app.door.operator import is_own, is_room, refuse_attempt
from app.door.parse import Framing, HttpError, RequestHead
from app.door.plain import serve_plain
from app.door.run_door import RunDoor
from app.door.tunnel import serve_connect
from app.door.wire import Wire, WireError, close_soon

LINGER_SECONDS = 2.0
LINGER_BYTES = 1024 * 1024
_SHAPES = {"anthropic": anthropic_body, "openai": openai_body, "gateway": gateway_body}


async def serve_connection(house: House, run: RunDoor, client: Wire) -> None:
    """Serve a connection to its end."""
    try:
        while await _serve_one(house, run, client):
            pass
    except (WireError, OSError) as error:
        log("connection.cut", run=run.run, error=str(error))
    except asyncio.CancelledError:
        client.abort()
        raise
    finally:
        close_soon(client)


async def _serve_one(house: House, run: RunDoor, client: Wire) -> bool:
    shape = ""
    try:
        head = await read_request(client, IDLE_SECONDS, run.allowance.caps.head_seconds)
        if head is None:
            return False
        shape = _shape(head)
        _check(head)
        _expect(client, head)
        return await _serve_form(house, run, client, head, shape)
    except HttpError as error:
        log("refused", run=run.run, form=shape or "egress", status=error.status, error=error.text)
        if shape:
            send_json(client, error, _SHAPES[shape](error))
        else:
            send_text(client, error)
        await _linger(client)
        return False


def _shape(head: RequestHead) -> str:
    if head.method == "CONNECT" or not head.target.startswith("/"):
        return ""
    first = head.target.split("/", 2)[1]
    return first if first in ("anthropic", "openai") else "gateway"


def _check(head: RequestHead) -> None:
    if head.get("upgrade") is not None or head.get("http2-settings") is not None:
        raise HttpError(405, "no protocol upgrade passes")


def _expect(client: Wire, head: RequestHead) -> None:
    expected = head.get("expect")
    if expected is None:
        return
    if expected.lower() != "100-continue":
        raise HttpError(417, "the only expectation here is 100-continue")
    if head.framing is not Framing.NONE:
        client.send(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _serve_form(house: House, run: RunDoor, client: Wire, head: RequestHead, shape: str) -> bool:
    if _is_attempt(run, head, shape):
        raise await refuse_attempt(house, run, head)
    if head.method == "CONNECT":
        await serve_connect(house, run, client, head)
        return False
    if not shape:
        if not head.target.startswith("http://"):
            raise HttpError(400, "a target is /path, http://host/path, or host:port with CONNECT")
        await serve_plain(house, run, client, head)
        return False
    if shape == "gateway":
        if not is_forwarded(head.target):
            raise HttpError(404, "there is nothing here")
        return await serve_forward(house, run, client, head)
    upstream = run.upstreams.get(shape)
    if upstream is None:
        raise HttpError(404, f"this run has no {shape} models")
    return await ModelCall(house, run, client, head, upstream).serve(head.target[len(shape) + 1 :])


def _is_attempt(run: RunDoor, head: RequestHead, shape: str) -> bool:
    """Whether the request is for what only people may use."""
    if shape:
        return shape == "gateway" and not is_forwarded(head.target) and is_room(head.target)
    if head.method == "CONNECT":
        return is_own(head.target, run.own, 443)
    scheme, _, rest = head.target.partition("://")
    return is_own(re.split(r"[/?#]", rest, maxsplit=1)[0], run.own, 443 if scheme.lower() == "https" else 80)


async def _linger(client: Wire) -> None:
    """Let the client read the refusal: closing over unread bytes would take it away again."""
    client.shut()
    size = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while size < LINGER_BYTES:
                data = await client.receive(LINGER_SECONDS)
                if not data:
                    return
                size += len(data)
    except (TimeoutError, WireError):
        return

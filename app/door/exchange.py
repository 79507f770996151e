"""The door's own HTTP/1.1 client: pooled connections, strict answers, bodies read piece by piece.

A pooled connection is used only while nothing has arrived on it; a request of which a byte was written is not repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from app.door.framing import Decoder, decoder_of
from app.door.parse import HttpError, RequestHead, ResponseHead, find_head_end, parse_request, parse_response
from app.door.wire import Wire, WireError

MAX_INTERIM = 8
IDLE_POOL_SECONDS = 5.0
MAX_IDLE = 16


class Pool:
    """Idle connections to one place; each is closed after `idle` seconds, long before the far side tires of it."""

    def __init__(self, dial: Callable[[], Awaitable[Wire]], idle: float = IDLE_POOL_SECONDS) -> None:
        self._dial = dial
        self._idle_seconds = idle
        self._idle: list[tuple[Wire, asyncio.TimerHandle]] = []
        self._closed = False

    async def acquire(self) -> Wire:
        """The connection used last that is still whole, or a new one. Raises OSError or WireError."""
        while self._idle:
            wire, timer = self._idle.pop()
            timer.cancel()
            if wire.usable:
                return wire
            wire.abort()
        return await self._dial()

    def release(self, wire: Wire) -> None:
        """Give back a connection whose answer was read to its end."""
        if self._closed or not wire.usable or len(self._idle) >= MAX_IDLE:
            wire.close()
            return
        timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._expire, wire)
        self._idle.append((wire, timer))

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        for wire, timer in self._idle:
            timer.cancel()
            wire.close()
        self._idle.clear()

    def _expire(self, wire: Wire) -> None:
        self._idle = [(other, timer) for other, timer in self._idle if other is not wire]
        wire.close()


class Body:
    """A body that is being read off a connection."""

    __slots__ = ("_decoder", "_wire")

    def __init__(self, wire: Wire, decoder: Decoder) -> None:
        self._wire = wire
        self._decoder = decoder

    @property
    def complete(self) -> bool:
        """Whether the body was read to its end."""
        return self._decoder.done

    async def next(self, seconds: float) -> bytes:
        """The next bytes; nothing at the end. Raises WireError when the connection ends before the body."""
        decoder, wire = self._decoder, self._wire
        while not decoder.done:
            data = await wire.receive(seconds)
            if not data:
                if decoder.finish():
                    return b""
                raise WireError("the connection ended before the body")
            out = decoder.feed(data)
            if decoder.rest:
                wire.buffer[:0] = decoder.rest
                decoder.rest = b""
            if out:
                return out
        return b""

    async def read(self, most: int, seconds: float) -> bytes:
        """The whole body. Raises HttpError 413 beyond `most` bytes."""
        parts: list[bytes] = []
        size = 0
        while part := await self.next(seconds):
            size += len(part)
            if size > most:
                raise HttpError(413, f"a body here has at most {most} bytes")
            parts.append(part)
        return b"".join(parts)


def body_of(wire: Wire, head: RequestHead | ResponseHead) -> Body:
    """The body that follows `head` on `wire`."""
    return Body(wire, decoder_of(head.framing, head.length, lenient=isinstance(head, ResponseHead)))


async def read_request(wire: Wire, idle: float, head_seconds: float) -> RequestHead | None:
    """The next request head; None when the client closes between requests. Raises HttpError, WireError."""
    if not wire.buffer and not await wire.fill(idle):
        return None
    head = await _read_head(wire, head_seconds)
    return parse_request(head)


async def read_answer(wire: Wire, method: str, seconds: float) -> ResponseHead:
    """The answer's head, interim answers skipped. Raises HttpError 502, WireError."""
    for _ in range(MAX_INTERIM):
        head = parse_response(await _read_head(wire, seconds), method)
        if head.status >= 200:
            return head
        if head.status == 101:
            raise HttpError(502, "the other side switched protocols unasked")
    raise HttpError(502, "too many interim answers")


async def _read_head(wire: Wire, seconds: float) -> bytes:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    scanned = 0
    while True:
        end = find_head_end(wire.buffer, scanned)
        if end:
            return wire.take(end)
        scanned = len(wire.buffer)
        if not await wire.fill(max(0.0, deadline - loop.time())):
            raise WireError("the connection ended inside a head")

"""One connection of the door: a bounded read buffer, waits with deadlines, and byte pipes with back-pressure.

Nothing is buffered beyond HIGH_WATER: a reader that does not take bytes stops the sender.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

HIGH_WATER = 128 * 1024
FLUSH_SECONDS = 10.0


class WireError(Exception):
    """The other side is gone, or did not do its part in time."""


class WireTimeout(WireError):
    """The other side did not do its part in time."""


class Wire(asyncio.Protocol):
    """An asyncio protocol with the few waits that the door needs. `gone` is called at the end of what
    the other side sends, and again when the connection is lost."""

    def __init__(self, made: Callable[[Wire], None] | None = None) -> None:
        self.buffer = bytearray()
        self.eof = False
        self.lost = False
        self.gone: Callable[[], None] | None = None
        self.sink: Wire | None = None
        self.counted: Callable[[int], None] | None = None
        self.received = 0
        self._made = made
        self._transport: asyncio.Transport | None = None
        self._tls = False
        self._reading_paused = False
        self._writing_paused = False
        self._reader: asyncio.Future[None] | None = None
        self._drainer: asyncio.Future[None] | None = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the shape of asyncio.Transport without being one.
        self._transport = cast(asyncio.Transport, transport)
        self._tls = transport.get_extra_info("sslcontext") is not None
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._made is not None:
            self._made(self)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.sink is not None:
            self._pour(data)
            return
        self.buffer += data
        if len(self.buffer) > HIGH_WATER:
            self._pause_reading()
        self._wake(self._reader)

    def eof_received(self) -> bool:
        self.eof = True
        self._wake(self._reader)
        if self.sink is not None:
            self.sink.shut()
        self._tell_gone()
        return not self._tls

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof = self.lost = True
        self._wake(self._reader)
        self._wake(self._drainer)
        self._tell_gone()

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self.sink is not None:
            self.sink._pause_reading()

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake(self._drainer)
        if self.sink is not None:
            self.sink._resume_reading()

    # What the door calls.

    @property
    def usable(self) -> bool:
        """Whether both directions are open and nothing unexpected has arrived (asked of pooled connections)."""
        return self._transport is not None and not self.eof and not self.lost and not self.buffer

    def peer_credentials(self) -> bytes:
        """The peer's (pid, uid, gid) as SO_PEERCRED packs them; of Unix sockets only."""
        transport = self._transport
        sock = transport.get_extra_info("socket") if transport is not None else None
        if sock is None:
            raise WireError("the connection is not open")
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return bytes(credentials)

    async def fill(self, seconds: float) -> bool:
        """Wait for more bytes; False at the end of the stream. Raises WireTimeout after `seconds`."""
        if self.eof:
            return False
        self._resume_reading()
        size = len(self.buffer)
        await self._wait(seconds)
        return len(self.buffer) > size

    async def receive(self, seconds: float) -> bytes:
        """The bytes that are there, or the next ones; nothing at the end of the stream."""
        if not self.buffer:
            await self.fill(seconds)
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def take(self, size: int) -> bytes:
        """Remove and return the first `size` bytes of the buffer."""
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def send(self, data: bytes | bytearray) -> None:
        """Write without waiting; silently nothing once the other side is lost (its reader notices)."""
        if self._transport is not None and not self.lost:
            self._transport.write(data)

    async def drain(self, seconds: float) -> None:
        """Wait until the other side has taken most of what was written."""
        if not self._writing_paused or self.lost:
            return
        loop = asyncio.get_running_loop()
        self._drainer = loop.create_future()
        timer = loop.call_later(seconds, _expire, self._drainer)
        try:
            await self._drainer
        finally:
            timer.cancel()
            self._drainer = None

    def shut(self) -> None:
        """Say that no more bytes will be written (half close where the transport can)."""
        transport = self._transport
        if transport is None or self.lost or transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def close(self) -> None:
        """Close after what was written has been taken."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once and drop what was not taken."""
        if self._transport is not None:
            self._transport.abort()

    def pipe_to(self, other: Wire) -> None:
        """From now on every byte that arrives here is written to `other`, and the end is passed on."""
        self.sink = other
        if self.buffer:
            data = bytes(self.buffer)
            self.buffer.clear()
            self._pour(data)
        if self.eof:
            other.shut()
        else:
            self._resume_reading()

    # Inside.

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._reader = loop.create_future()
        timer = loop.call_later(seconds, _expire, self._reader)
        try:
            await self._reader
        finally:
            timer.cancel()
            self._reader = None

    def _pour(self, data: bytes) -> None:
        sink = self.sink
        if sink is None:
            return
        if self.counted is not None:
            self.counted(len(data))
        sink.send(data)
        if sink._writing_paused:
            self._pause_reading()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None and not self.lost:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and self._transport is not None and not self.lost:
            self._reading_paused = False
            self._transport.resume_reading()

    def _tell_gone(self) -> None:
        if self.gone is not None:
            self.gone()

    @staticmethod
    def _wake(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(WireTimeout("the other side was too slow"))


def watch_client(client: Wire) -> None:
    """From now on the client's leaving cancels the current task. Raises WireError when it has left already."""
    task = asyncio.current_task()
    if client.eof:
        raise WireError("the client is gone")

    def gone() -> None:
        client.gone = None
        if task is not None:
            task.cancel()

    client.gone = gone


def close_soon(wire: Wire) -> None:
    """Close once what was written has been taken, and at the latest after FLUSH_SECONDS."""
    wire.close()
    if not wire.lost:
        asyncio.get_running_loop().call_later(FLUSH_SECONDS, wire.abort)

"""The only way out of a run: 127.0.0.1:3128 inside the container, piped to the door's Unix socket.

The relay reads nothing and decides nothing; who may speak to whom is the door's business. A connection dies with its
peer, the relay itself outlives every restart of the door.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

HOST = "127.0.0.1"
PORT = 3128
DOOR = "/run/helm/door.sock"
CONNECTIONS = 256
"""Open connections; one more is closed at once, so that a flood from inside cannot exhaust the runner's files."""
DOOR_WAIT_S = 5.0
"""How long a new connection waits for a door that is being restarted before it is closed."""

_CHUNK = 64 * 1024
_RETRY_S = 0.05


async def _reach_door(path: str, wait_s: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """One connection to the door, or None when nobody listened there for `wait_s` seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            while True:
                with contextlib.suppress(OSError):
                    return await asyncio.open_unix_connection(path)
                await asyncio.sleep(_RETRY_S)
    return None


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then end only this direction: the answer may still be on its way."""
    while chunk := await source.read(_CHUNK):
        sink.write(chunk)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


async def _end(writer: asyncio.StreamWriter) -> None:
    """Close, and wait until the last byte is out or the peer is gone."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _join(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Pipe both directions; the first broken one takes the other with it."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(near[0], far[1]))
            both.create_task(_pump(far[0], near[1]))
    except* OSError:
        near[1].transport.abort()
        far[1].transport.abort()
    finally:
        await _end(far[1])


async def serve(
    host: str = HOST,
    port: int = PORT,
    door: str = DOOR,
    *,
    connections: int = CONNECTIONS,
    door_wait_s: float = DOOR_WAIT_S,
) -> asyncio.Server:
    """Listen and pipe until the returned server is closed. Raises OSError when the port is taken."""
    open_now = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        if open_now >= connections:
            writer.transport.abort()
            return
        open_now += 1
        try:
            near_socket: socket.socket = writer.get_extra_info("socket")
            near_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            far = await _reach_door(door, door_wait_s)
            if far is not None:
                await _join((reader, writer), far)
            await _end(writer)
        finally:
            open_now -= 1
            writer.close()

    return await asyncio.start_server(accept, host, port, limit=_CHUNK, backlog=128)


async def _forever() -> None:
    server = await serve()
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run until the container ends."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_forever())


if __name__ == "__main__":
    main()

"""Listeners: uvicorn servers that share one event loop, and the sockets that they serve."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from app.domain.errors import BadConfig


class Server(uvicorn.Server):
    """A listener among several: signals belong to `serve`, not to one of them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listener(app: Any, **options: Any) -> Server:
    """An ASGI listener with our defaults: no trust in forwarded addresses, no compression, bounded shutdown."""
    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_max_size=1_048_576,
            loop="none",
            http="httptools",
            lifespan=options.pop("lifespan", "on"),
            timeout_graceful_shutdown=5,
            timeout_keep_alive=options.pop("timeout_keep_alive", 75),
            **options,
        )
    )


def tcp_socket(host: str, port: int) -> socket.socket:
    """A bound listening socket. Raises BadConfig naming the remedy when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, so that asyncio turns Nagle's algorithm off on what is accepted.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise BadConfig(
            f"{host}:{port} cannot be used: {error.strerror}; stop what listens there, or set HELM_PORT to another port"
        ) from None
    found.listen(2048)
    return found


def unix_socket(path: Path, mode: int) -> socket.socket:
    """A bound listening Unix socket in the place of an old one. The folder is entered by descriptor, so that the length
    of $HELM_HOME does not matter."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        found.bind(f"/proc/self/fd/{folder}/{path.name}")
        path.chmod(mode)
        found.listen(2048)
    finally:
        os.close(folder)
    return found


async def until_started(server: Server, task: asyncio.Task[None]) -> None:
    """Return when the listener takes connections. Raises what kept it from starting."""
    while not server.started:
        if task.done():
            await task
            raise BadConfig("a listener did not start")
        await asyncio.sleep(0.005)


async def stopped(server: Server, task: asyncio.Task[None], cut_after_s: float | None = None) -> None:
    """Stop a listener and wait until it has let go. `cut_after_s`: what is still held by then is cut without an answer;
    uvicorn would answer 500, and a caller that waits for a verdict must not take that for one."""
    server.should_exit = True
    if cut_after_s is not None:
        await asyncio.wait({task}, timeout=cut_after_s)
        for connection in list(server.server_state.connections):
            connection.transport.abort()
    await task

"""Unix sockets by relative name: bound in place of what an earlier door left, removed at the end."""

from __future__ import annotations

import socket
from pathlib import Path


def bind_unix(path: Path, mode: int) -> socket.socket:
    """A bound stream socket of that mode. Raises OSError."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.bind(str(path))
        path.chmod(mode)
    except OSError:
        sock.close()
        raise
    return sock


def remove(path: Path) -> None:
    """Remove a socket; nothing there is fine."""
    path.unlink(missing_ok=True)

"""Unix sockets by relative name: bound in place of what an earlier door left, removed at the end by who bound them."""

from __future__ import annotations

import socket
from pathlib import Path

Mark = tuple[int, int]
"""What tells one socket file from another that came in its place."""


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


def mark_of(path: Path) -> Mark | None:
    """The mark of what is there now."""
    try:
        facts = path.lstat()
    except OSError:
        return None
    return facts.st_ino, facts.st_ctime_ns


def remove(path: Path) -> None:
    """Remove a socket; nothing there is fine."""
    path.unlink(missing_ok=True)


def remove_own(path: Path, mark: Mark | None) -> None:
    """Remove the socket with this mark: a door that ends late leaves alone what the next one has put there."""
    if mark is not None and mark_of(path) == mark:
        remove(path)

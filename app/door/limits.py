"""What one run may use of the door at a time; beyond it the newcomer is turned away and nobody else is slowed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.door.parse import HttpError

HEAD_SECONDS = 10.0
HELLO_SECONDS = 10.0
DIAL_SECONDS = 10.0
RESOLVE_SECONDS = 10.0
BODY_SECONDS = 30.0
GATEWAY_SECONDS = 30.0
IDLE_SECONDS = 600.0
UPSTREAM_SECONDS = 900.0
FOREVER = 400 * 86400.0

MAX_MODEL_BODY = 32 * 1024 * 1024
MAX_FORWARD_BODY = 8 * 1024 * 1024
MAX_HTTP_BODY = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Caps:
    """The numbers per run."""

    connections: int = 256
    tunnels: int = 128
    body_bytes: int = 64 * 1024 * 1024
    total_bytes: int = 64 * 1024 * 1024 * 1024
    idle_seconds: float = IDLE_SECONDS
    head_seconds: float = HEAD_SECONDS


class Allowance:
    """What one run uses now."""

    __slots__ = ("body_bytes", "caps", "connections", "total_bytes", "tunnels")

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self.connections = 0
        self.tunnels = 0
        self.body_bytes = 0
        self.total_bytes = 0

    def admit(self) -> bool:
        """Count a new connection in, when there is room; the caller counts it out with `dismiss`."""
        if self.connections >= self.caps.connections:
            return False
        self.connections += 1
        return True

    def dismiss(self) -> None:
        """Count a connection out."""
        self.connections -= 1

    def count(self, size: int) -> None:
        """Count bytes that left or came in for this run."""
        self.total_bytes += size

    @property
    def exhausted(self) -> bool:
        """Whether the run has moved all the bytes that it may."""
        return self.total_bytes >= self.caps.total_bytes

    @contextmanager
    def tunnel(self) -> Iterator[None]:
        """Hold one of the run's tunnels. Raises HttpError 429 when all are taken."""
        if self.tunnels >= self.caps.tunnels:
            raise HttpError(429, f"this run has {self.tunnels} outward connections open, the most that it may")
        self.tunnels += 1
        try:
            yield
        finally:
            self.tunnels -= 1

    def hold(self, size: int) -> None:
        """Hold memory for a request body. Raises HttpError 429 when the run's share is taken."""
        if self.body_bytes + size > self.caps.body_bytes:
            raise HttpError(429, "this run's requests hold all the memory that they may; try again")
        self.body_bytes += size

    def release(self, size: int) -> None:
        """Give memory back."""
        self.body_bytes -= size

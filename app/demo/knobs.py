"""What a test may turn on the model server: failures, held and slow answers, cut streams, echoed headers.

Set with POST /__control. A knob that counts (`times`) is used up by the requests that it hits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

MAX_HOLD_S = 3600.0
PING_S = 5.0


class KnobError(ValueError):
    """A control request that means nothing; the text says why."""


@dataclass(slots=True)
class Failure:
    """The next `times` answers fail: as an HTTP status, an error event, or a cut connection (these two mid-stream)."""

    mode: str
    status: int
    times: int
    message: str
    retry_after: str
    match: str


@dataclass(slots=True)
class Hold:
    """The next `times` answers wait until released: before the headers, or inside the stream with pings."""

    at: str
    times: int
    match: str


class Knobs:
    """The current settings; all of them off at the start."""

    def __init__(self) -> None:
        self._released = asyncio.Event()
        self.clear()

    def clear(self) -> None:
        self._failure: Failure | None = None
        self._hold: Hold | None = None
        self.first_ms = 0
        self.chunk_ms: int | None = None
        self.echo_header = ""
        self.echo_into = "header"
        self._released.set()

    def turn(self, order: Mapping[str, object]) -> None:
        """Apply one control request: reset, release, fail, hold, slow, echo, in this order."""
        if unknown := sorted(set(order) - {"reset", "release", "fail", "hold", "slow", "echo"}):
            raise KnobError(f"unknown knob {', '.join(unknown)}; there are reset, release, fail, hold, slow, echo")
        if order.get("reset"):
            self.clear()
        if order.get("release"):
            self._hold = None
            self._released.set()
        if (fail := _table(order, "fail", {"mode", "status", "times", "message", "retry_after", "match"})) is not None:
            self._failure = _failure(fail)
        if (hold := _table(order, "hold", {"at", "times", "match"})) is not None:
            at = _choice(hold, "at", ("headers", "stream"))
            self._hold = Hold(at, _number(hold, "times", 1), str(hold.get("match", "")))
            self._released.clear()
        if (slow := _table(order, "slow", {"first_ms", "chunk_ms"})) is not None:
            self.first_ms = _number(slow, "first_ms", 0)
            self.chunk_ms = _number(slow, "chunk_ms", 0) if "chunk_ms" in slow else None
        if (echo := _table(order, "echo", {"header", "into"})) is not None:
            self.echo_header = str(echo.get("header", "")).lower()
            self.echo_into = _choice(echo, "into", ("header", "text", "error"))

    def failure(self, request: str) -> Failure | None:
        """The failure that this request meets; it is counted."""
        found = self._failure
        if found is None or found.times < 1 or found.match not in request:
            return None
        found.times -= 1
        return found

    def hold(self, request: str) -> str:
        """Where this request is held ("" when it is not); it is counted."""
        found = self._hold
        if found is None or found.times < 1 or found.match not in request:
            return ""
        found.times -= 1
        return found.at

    async def released(self, seconds: float = MAX_HOLD_S) -> bool:
        """Wait for the release; False when the time passed first."""
        try:
            async with asyncio.timeout(seconds):
                await self._released.wait()
        except TimeoutError:
            return False
        return True


def _failure(row: Mapping[str, object]) -> Failure:
    return Failure(
        mode=_choice(row, "mode", ("status", "event", "cut")),
        status=_number(row, "status", 529),
        times=_number(row, "times", 1),
        message=str(row.get("message", "Overloaded")),
        retry_after=str(row.get("retry_after", "")),
        match=str(row.get("match", "")),
    )


def _table(order: Mapping[str, object], key: str, keys: set[str]) -> dict[str, object] | None:
    value = order.get(key)
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) - keys:
        raise KnobError(f"{key} must be an object of {', '.join(sorted(keys))}")
    return value


def _choice(row: Mapping[str, object], key: str, allowed: tuple[str, ...]) -> str:
    value = row.get(key, allowed[0])
    if not isinstance(value, str) or value not in allowed:
        raise KnobError(f"{key} is one of {', '.join(allowed)}")
    return value


def _number(row: Mapping[str, object], key: str, default: int) -> int:
    value = row.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise KnobError(f"{key} must be a whole number, 0 or more")
    return value

"""Single-use tickets for the live socket, 30 seconds each. Kept in memory only: after a restart a client asks again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from app.domain.errors import HelmError
from app.ports import Clock
from app.web.session import Viewer

LIFE_MS: Final = 30_000
_MOST: Final = 10_000
_MOST_EACH: Final = 100


class TooManyTickets(HelmError):
    """Somebody asks for tickets and does not use them."""

    code = "TOO_MANY_TICKETS"
    status = 429


@dataclass(frozen=True, slots=True)
class _Held:
    viewer: Viewer
    expires_ms: int


class Tickets:
    """Gives tickets and takes each of them once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: OrderedDict[str, _Held] = OrderedDict()

    def give(self, viewer: Viewer) -> str:
        """A new ticket. Raises TooManyTickets."""
        now = self._clock.now_ms()
        while self._held and next(iter(self._held.values())).expires_ms <= now:
            self._held.popitem(last=False)
        mine = sum(held.viewer.key == viewer.key for held in self._held.values())
        if len(self._held) >= _MOST or mine >= _MOST_EACH:
            raise TooManyTickets("too many tickets are waiting to be used; try again in half a minute")
        secret = self._clock.entropy(32).hex()
        self._held[_digest(secret)] = _Held(viewer, now + LIFE_MS)
        return secret

    def take(self, secret: str) -> Viewer | None:
        """Who holds it; from now on nobody."""
        held = self._held.pop(_digest(secret), None)
        if held is None or held.expires_ms <= self._clock.now_ms():
            return None
        return held.viewer


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()

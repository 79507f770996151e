"""How many runs may have a container that goes on. A run that waits in line for a slot comes before a new one."""

from __future__ import annotations

import asyncio
from collections import deque

from app.domain.errors import Conflict


class Slots:
    """Slots by run, and the line of those that wait for one."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._taken: set[str] = set()
        self._line: deque[tuple[str, asyncio.Future[None]]] = deque()

    @property
    def used(self) -> int:
        """How many are taken."""
        return len(self._taken)

    @property
    def full(self) -> bool:
        """Whether a new run would have to wait."""
        return len(self._taken) + len(self._line) >= self.total

    def take(self, run: str) -> None:
        """Take one for a new run. Raises Conflict when none is free, or others wait for the ones that are."""
        if self.full:
            raise Conflict(f"all {self.total} slots are in use; stop a run or wait until one ends")
        self._taken.add(run)

    def keep(self, run: str) -> None:
        """Count a run that has its container already, as after a restart; there may be more of them than slots."""
        self._taken.add(run)

    def leave(self, run: str) -> None:
        """Give a slot, or a place in the line, back."""
        for place in [place for place in self._line if place[0] == run]:
            self._line.remove(place)
            place[1].cancel()
        self._taken.discard(run)
        while self._line and len(self._taken) < self.total:
            first, turn = self._line.popleft()
            self._taken.add(first)
            if not turn.done():
                turn.set_result(None)

    def take_again(self, run: str) -> bool:
        """Take one for a run that had given its own back, if one is free and nobody waits in line."""
        if run in self._taken:
            return True
        if self.full:
            return False
        self._taken.add(run)
        return True

    async def in_turn(self, run: str) -> None:
        """Wait in line until a slot is taken for the run. Cancelled when the run leaves."""
        if self.take_again(run):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((run, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self.leave(run)
            raise

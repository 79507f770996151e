"""Whether a run's container goes on or stands still is decided by the log alone: it stands still while the run is
frozen or parked."""

from __future__ import annotations

import asyncio

from app.ports import Sandbox
from app.services.ledger import Ledger


class Stillness:
    """Brings containers to what the log says of them."""

    def __init__(self, ledger: Ledger, sandbox: Sandbox) -> None:
        self._ledger, self._sandbox = ledger, sandbox
        self._locks: dict[str, asyncio.Lock] = {}

    async def settle(self, run: str) -> None:
        """Let the run's container stand still or go on. Raises EngineUnavailable."""
        async with self._locks.setdefault(run, asyncio.Lock()):
            found = await self._ledger.run(run)
            if found is None or not found.live:
                return
            if found.parked or self._ledger.standing.frozen(run, found.blueprint) is not None:
                await self._sandbox.pause(run)
            else:
                await self._sandbox.unpause(run)

    def forget(self, run: str) -> None:
        """The run has ended."""
        self._locks.pop(run, None)

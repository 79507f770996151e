"""Watches a door that somebody else keeps running (HELM_DOOR=external): after each of its starts `on_up` is awaited,
since a door remembers no run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from app.adapters.door_client import DoorClient, DoorUnreachable

PAUSE_SECONDS = 0.25

logger = logging.getLogger("helm.door")


class DoorWatch:
    """The connection to the external door in `folder`; it ends with that door, and the next one is greeted."""

    def __init__(self, folder: Path, on_up: Callable[[], Awaitable[None]], patience: float = 0.0) -> None:
        self._client, self._on_up, self._patience = DoorClient(folder), on_up, patience
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch, and wait `patience` seconds at most for a door; it may also come later."""
        self._task = asyncio.get_running_loop().create_task(self._watch(), name="door-watch")
        try:
            async with asyncio.timeout(self._patience or None):
                await (self._up.wait() if self._patience else asyncio.sleep(0))
        except TimeoutError:
            logger.warning("no door after %g s; runs reach nothing until it is there", self._patience)

    async def stop(self) -> None:
        """Stop watching; the door goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                await self._client.stay(self._greet)
                logger.warning("the door has gone; runs reach nothing until it is back")
            except DoorUnreachable:
                pass
            except Exception:
                # Supervisor: a run that could not be opened must not end the watch; the door is greeted again.
                logger.exception("the door could not be told about the runs")
            self._up.clear()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _greet(self) -> None:
        await self._on_up()
        self._up.set()

"""The server's health as pages show it: asked at most every few seconds, and never waited for by a page that has seen
an answer. Probing the container engine can be slow; opening a page may not be."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from app.domain.errors import HelmError
from app.services.health import Health, HealthReport

_FRESH_S: Final = 5.0
_FIRST_S: Final = 2.0

log = structlog.get_logger("helm.web")


class Pulse:
    """The last health report, kept fresh while somebody looks."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._report: HealthReport | None = None
        self._asked = -_FRESH_S
        self._task: asyncio.Task[None] | None = None

    async def report(self) -> HealthReport | None:
        """The newest report; None while the first one takes too long."""
        now = asyncio.get_running_loop().time()
        if now - self._asked > _FRESH_S and (self._task is None or self._task.done()):
            self._asked = now
            self._task = asyncio.create_task(self._ask(), name="web-pulse")
        if self._report is None and self._task is not None:
            await asyncio.wait([self._task], timeout=_FIRST_S)
        return self._report

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=5)

    async def _ask(self) -> None:
        try:
            self._report = await self._health.check()
        except HelmError as error:
            log.warning("health cannot be checked", reason=error.message)

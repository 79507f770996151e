"""Items of the inbox that are no questions: a person takes them off the list once they have looked."""

from __future__ import annotations

from app.domain.errors import NotFound
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads_log import NoticeCleared
from app.domain.receipt import Actor
from app.services.ledger import Ledger


class Notices:
    """Clears what was seen."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def clear(self, notice: str, *, by: str) -> None:
        """Take a notice off the list, durably. What it is about stays as it is. Raises NotFound, LedgerUnavailable."""
        if notice not in self._ledger.standing.notices:
            raise NotFound("there is no such notice, or somebody has cleared it already")
        await self._ledger.record(SYSTEM_RUN, Draft(NoticeCleared(notice, by), Actor("human", by, "client")))

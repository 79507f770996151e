"""Whether Helm can do its work right now, in words that name the remedy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from app import __version__
from app.ports import EngineStatus, Providers, Sandbox
from app.services.ledger import Ledger


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Empty texts mean well. `ok` is False as soon as nothing may be dispatched."""

    ok: bool
    ledger: str
    door: str
    engine: EngineStatus
    providers: Mapping[str, bool]
    version: str
    log: str
    size: int
    policies: str = ""


class Health:
    """Asks every part that a run depends on."""

    def __init__(
        self,
        ledger: Ledger,
        sandbox: Sandbox,
        providers: Providers,
        door: Callable[[], Awaitable[str]],
        policies: Callable[[], str] = str,
    ) -> None:
        self._ledger, self._sandbox, self._providers, self._door = ledger, sandbox, providers, door
        self._policies = policies

    async def check(self) -> HealthReport:
        """The state of ledger, door and engine now."""
        door = await self._door()
        return HealthReport(
            ok=not self._ledger.fault and not door,
            ledger=self._ledger.fault,
            door=door,
            engine=await self._sandbox.probe(),
            providers=self._providers.keys(),
            version=__version__,
            log=self._ledger.log,
            size=self._ledger.head + 1,
            policies=self._policies(),
        )

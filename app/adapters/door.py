"""The door as the services know it: opened and closed per run, its failures in our own words."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.adapters.door_client import DoorClient, DoorError, DoorUpstream
from app.domain.errors import DoorUnavailable

_AGENT_UID = 10001


class DoorControl:
    """The door behind its command socket in `folder`."""

    def __init__(self, folder: Path, peer_uids: tuple[int, ...] = (_AGENT_UID,), own: Sequence[str] = ()) -> None:
        self._folder, self._client, self._peers, self._own = folder, DoorClient(folder), peer_uids, tuple(own)

    async def open(self, run: str, upstreams: Mapping[str, Mapping[str, str]], *, frozen: bool = False) -> str:
        """The folder with the run's socket, to be mounted into its container. Raises DoorUnavailable."""
        given = {name: DoorUpstream(one["base"], one["key"]) for name, one in upstreams.items()}
        try:
            await self._client.open(run, given, self._peers, frozen=frozen, own=self._own)
        except DoorError as error:
            raise DoorUnavailable(f"{error}; nothing can leave a run without it") from None
        return str(self._folder / "runs" / run)

    async def close(self, run: str) -> None:
        """Cut a run off. A door that is not there has nothing open, which is the same."""
        try:
            await self._client.close(run)
        except DoorError:
            return

    async def freeze(self, run: str) -> None:
        """Cut everything that leads out of a run at once. Raises DoorUnavailable: nobody confirms that it is cut."""
        await self._ordered(self._client.freeze(run))

    async def thaw(self, run: str) -> None:
        """Let things leave a run again. Raises DoorUnavailable."""
        await self._ordered(self._client.thaw(run))

    @staticmethod
    async def _ordered(order: Coroutine[Any, Any, None]) -> None:
        try:
            await order
        except DoorError as error:
            raise DoorUnavailable(f"{error}; it is told again when it comes back") from None

    async def sweep(self, is_held: Callable[[str], bool]) -> None:
        """Close and clear away what is left of runs that ended while no door was there."""
        try:
            names = os.listdir(self._folder / "runs")
        except OSError:
            return  # none yet, or the folder of a door of its own: that one keeps its house itself
        for name in names:
            if not is_held(name):
                await self.close(name)

    async def state(self) -> str:
        """Empty when the door answers, else why it does not."""
        try:
            async with asyncio.timeout(2):
                await self._client.ping()
        except (DoorError, TimeoutError) as error:
            return f"the door does not answer ({type(error).__name__}); it is being started again"
        return ""

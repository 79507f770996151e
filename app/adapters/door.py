"""The door as the services know it: opened and closed per run, its failures in our own words."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from app.adapters.door_client import DoorClient, DoorError, DoorUpstream
from app.domain.errors import DoorUnavailable

_AGENT_UID = 10001


class DoorControl:
    """The door behind its command socket in `folder`."""

    def __init__(self, folder: Path, peer_uids: tuple[int, ...] = (_AGENT_UID,)) -> None:
        self._folder, self._client, self._peers = folder, DoorClient(folder), peer_uids

    async def open(self, run: str, upstreams: Mapping[str, Mapping[str, str]]) -> str:
        """The folder with the run's socket, to be mounted into its container. Raises DoorUnavailable."""
        given = {name: DoorUpstream(one["base"], one["key"]) for name, one in upstreams.items()}
        try:
            await self._client.open(run, given, self._peers)
        except DoorError as error:
            raise DoorUnavailable(f"{error}; nothing can leave a run without it") from None
        return str(self._folder / "runs" / run)

    async def close(self, run: str) -> None:
        """Cut a run off. A door that is not there has nothing open, which is the same."""
        try:
            await self._client.close(run)
        except DoorError:
            return

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

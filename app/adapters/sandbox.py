"""Containers as the services know them: what the Docker adapter does, in the values of the ports."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.adapters.container_spec import ContainerSpec
from app.adapters.docker import Sandbox
from app.adapters.workspace import Workspaces
from app.domain.errors import InvalidInput
from app.ports import EngineStatus, Exit, Start

_UNITS: Final = {"m": 1 << 20, "g": 1 << 30}
_PROBE_LIFE_S: Final = 5.0


class Containers:
    """One hardened container per run."""

    def __init__(self, sandbox: Sandbox, image: str) -> None:
        self._sandbox, self._image = sandbox, image
        self._probed: tuple[float, EngineStatus] | None = None

    async def probe(self) -> EngineStatus:
        """The engine's state; asked at most once in five seconds."""
        now = time.monotonic()
        if self._probed is None or now - self._probed[0] > _PROBE_LIFE_S:
            found = await self._sandbox.probe()
            self._probed = now, EngineStatus(found.available, found.version, found.reason, found.remedy)
        return self._probed[1]

    async def start(self, spec: Start) -> tuple[str, str]:
        """Start the run's container."""
        self._probed = None
        container = await self._sandbox.start(
            ContainerSpec(
                run=spec.run,
                lease=spec.lease,
                image=self._image,
                door_dir=Path(spec.door_dir),
                workspace_dir=Path(spec.workspace),
                memory=int(spec.memory[:-1]) * _UNITS[spec.memory[-1]],
                cpus=float(spec.cpus),
                pids=spec.pids,
            )
        )
        return container, self._image

    async def wait(self, run: str) -> Exit:
        """How the run's container ended; it is removed then."""
        ended = await self._sandbox.wait(run)
        await self._sandbox.remove(run)
        return Exit(ended.code, ended.oom_killed, ended.reason)

    async def kill(self, run: str) -> tuple[str, ...]:
        """Kill the tree; the commands that were killed."""
        return tuple(f"{process.pid} {process.command}"[:200] for process in await self._sandbox.kill(run))

    async def pause(self, run: str) -> None:
        """Let the container stand still."""
        await self._sandbox.pause(run)

    async def unpause(self, run: str) -> None:
        """Let it go on."""
        await self._sandbox.unpause(run)

    async def live(self) -> dict[str, int]:
        """Runs whose container can still act."""
        return {container.run: container.lease for container in await self._sandbox.list() if container.live}

    async def sweep(self, is_held: Callable[[str], bool]) -> tuple[str, ...]:
        """End and remove containers of this installation that no run holds; which runs they were of.

        Raises EngineUnavailable.
        """
        swept = []
        for container in await self._sandbox.list():
            if not is_held(container.run):
                await self._sandbox.kill(container.run)
                await self._sandbox.remove(container.run)
                swept.append(container.run)
        return tuple(swept)


class Folders:
    """Runs' workspaces by path."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces

    async def create(self, run: str, seed: str) -> str:
        """A new folder, empty or with a copy of the seed's content. Raises InvalidInput."""
        source = None if seed in ("", "empty") else Path(seed)
        if source is not None and not source.is_dir():
            raise InvalidInput(f"the blueprint's workspace seed {seed} is no folder on this machine")
        return str(await self._workspaces.create(run, source))
